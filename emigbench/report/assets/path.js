"use strict";
// The atoms around a band, turned by hand. Coordinates are in Å; x runs along the band, z towards the viewer.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const canvas = document.getElementById("view");
  const told = document.getElementById("told");
  const context = canvas.getContext("2d");
  const last = data.band.length - 1;
  const reach = Math.max(...data.atoms.concat(data.band).map((p) => Math.hypot(...p))) + 1;
  let axes = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
  const span = (k) => Math.max(...data.atoms.concat(data.band).map((p) => Math.abs(p[k]))) + 1;
  const shorter = Math.min(canvas.clientWidth, canvas.clientHeight);
  let zoom = reach * Math.min(canvas.clientWidth / span(0), canvas.clientHeight / span(1)) / shorter;
  let drawn = [];

  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const turned = (p) => axes.map((axis) => dot(axis, p));

  function turn(right, up) {
    const between = (a, b, angle) => a.map((v, k) => Math.cos(angle) * v + Math.sin(angle) * b[k]);
    const [x, y, z] = axes;
    const x1 = between(x, z, right), z1 = between(z, x, -right);
    axes = [x1, between(y, z1, -up), between(z1, y, up)];
    draw();
  }

  const parts = (colour) => [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
  const mixed = (colour, other, share) => `rgb(${colour.map((v, k) => Math.round(other[k] * share + v * (1 - share))).join(",")})`;

  function circle(item, x, y, size) {
    context.beginPath();
    context.arc(x, y, size, 0, 2 * Math.PI);
    context.fillStyle = item.fill;
    context.fill();
    context.lineWidth = item.end ? 2.5 : 1;
    context.strokeStyle = item.edge;
    context.stroke();
    if (item.label) {
      context.fillStyle = "#000";
      context.fillText(item.label, x, y);
    }
  }

  function draw() {
    const width = canvas.clientWidth, height = canvas.clientHeight, ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    context.scale(ratio, ratio);
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.font = "12px system-ui, sans-serif";
    const scale = (zoom * Math.min(width, height)) / (2 * reach);
    const at = (p) => [width / 2 + scale * p[0], height / 2 - scale * p[1]];
    const style = getComputedStyle(document.body);
    const [page, ink] = [style.backgroundColor, style.color].map((colour) => colour.match(/\d+/g).map(Number));
    const faded = (colour, z) => mixed(colour, page, Math.min(0.75, Math.max(0, 0.75 * (0.5 - z / (2 * reach)))));

    const atoms = data.atoms.map(turned), band = data.band.map(turned);
    const items = data.bonds.map(([i, j]) => ({ z: Math.min(atoms[i][2], atoms[j][2]) - 1e-3, from: atoms[i], to: atoms[j] }));
    drawn = atoms.map((p, k) => ({
      z: p[2], p, size: data.radii[data.species[k]], index: k, edge: faded(ink, p[2]),
      fill: faded(parts(data.colours[data.species[k]]), p[2]),
    })).concat(band.map((p, k) => ({
      z: p[2], p, size: data.ionRadius, image: k, label: String(k), end: k === 0 || k === last, edge: mixed(ink, page, 0),
      fill: mixed(parts(data.colours[data.ion]), [255, 255, 255], k === 0 || k === last ? 0 : 0.5),
    })));
    for (const item of items.concat(drawn).sort((a, b) => a.z - b.z)) {
      if (item.from) {
        context.beginPath();
        context.moveTo(...at(item.from));
        context.lineTo(...at(item.to));
        context.lineWidth = 2.5;
        context.strokeStyle = faded([128, 128, 128], item.z);
        context.stroke();
      } else {
        [item.x, item.y] = at(item.p);
        circle(item, item.x, item.y, scale * item.size);
      }
    }
    drawn.forEach((item) => { item.radius = scale * item.size; });
  }

  function tell(event) {
    const under = drawn.filter((item) => Math.hypot(item.x - event.offsetX, item.y - event.offsetY) < item.radius);
    const item = under.sort((a, b) => b.z - a.z)[0];
    if (!item) {
      told.textContent = "";
    } else if (item.index === undefined) {
      told.textContent = `image ${item.image} of ${data.ion}`;
    } else {
      const p = data.atoms[item.index];
      const lengths = data.band.map((q) => Math.hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]).toFixed(2));
      told.textContent = `${data.species[item.index]}: ${lengths.map((d, k) => `${d} Å from image ${k}`).join(", ")}`;
    }
  }

  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) turn(event.movementX / 120, -event.movementY / 120);
    tell(event);
  });
  const zoomed = (factor) => { zoom = Math.min(8, Math.max(0.4, zoom * factor)); draw(); };
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoomed(Math.exp(-event.deltaY / 600)); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
    const zooms = { "+": 1.2, "=": 1.2, "-": 1 / 1.2 };
    if (turns[event.key]) turn(...turns[event.key]);
    else if (zooms[event.key]) zoomed(zooms[event.key]);
    else return;
    event.preventDefault();
  });
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  turn(0.25, 0.2);
})();
