"use strict";
// Draws the plots of a model's page with Vega-Lite, when they come near the window. Facts of the paths come from
// paths.js, which all models share; predictions from the page itself.
(() => {
  const { paths, splits } = window.EMIGBENCH;
  const models = JSON.parse(document.getElementById("data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = () => window.innerWidth < 560;

  const palette = () => {
    const style = getComputedStyle(document.documentElement);
    const names = ["ink", "mute", "line", "panel", "accent", "good", "fair", "poor", "mark"];
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  };

  const config = (colour) => ({
    background: null,
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis: {
      labelColor: colour.mute, titleColor: colour.ink, gridColor: colour.line, domainColor: colour.line,
      tickColor: colour.line, titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 12, gridOpacity: 0.7,
    },
    legend: { labelColor: colour.ink, titleColor: colour.ink, titleFontWeight: "normal", orient: "top", offset: 4 },
    aria: true,
  });

  // --- Data

  function rowsOf(split) {
    const model = models[split];
    const failed = new Set(model.failed);
    const doubtful = new Set(model.notConverged);
    return splits[split].map((position, k) => {
      const [id, group, ion, material, e_m] = paths[position];
      const predicted = model.predicted[k];
      return {
        id, group, ion, material, true: e_m, predicted, error: predicted - e_m,
        std: model.std ? model.std[k] : null,
        seedSd: model.seedSd ? model.seedSd[k] : null,
        status: failed.has(k) ? "no value (train median)" : doubtful.has(k) ? "not converged" : "value",
      };
    });
  }

  const tooltip = (rows) => [
    { field: "id", title: "path" },
    { field: "group", title: "group" },
    { field: "ion", title: "ion" },
    { field: "true", title: "true (eV)", format: ".3f" },
    { field: "predicted", title: "predicted (eV)", format: ".3f" },
    { field: "error", title: "error (eV)", format: "+.3f" },
    ...(rows.some((row) => row.seedSd !== null) ? [{ field: "seedSd", title: "SD over seeds (eV)", format: ".3f" }] : []),
    ...(rows.some((row) => row.std !== null) ? [{ field: "std", title: "its own std (eV)", format: ".3f" }] : []),
    { field: "status", title: "status" },
  ];

  // --- Plots: (rows, model, colours, width) to a Vega-Lite specification

  const quantitative = (field, title, domain, more = {}) => ({
    field, type: "quantitative", title, scale: { domain, nice: false, ...more.scale }, axis: { tickCount: 6, ...more.axis },
  });

  function parity(rows, model, colour, width) {
    const end = Math.ceil(Math.max(...rows.map((row) => row.true)) * 11) / 10;
    const start = Math.min(0, Math.max(-0.5, Math.floor(Math.min(...rows.map((row) => row.predicted)) * 10) / 10));
    const limit = 1.25 * end;
    const values = rows.map((row) => ({
      ...row,
      shown: Math.min(Math.max(row.predicted, start), limit),
      place: row.predicted > limit ? "above the frame" : row.predicted < start ? "below the frame" : "inside",
      label: `${row.id}, ${row.group}, ${row.ion}: true ${row.true.toFixed(2)} eV, predicted ${row.predicted.toFixed(2)} eV`,
    }));
    const outside = values.filter((row) => row.place !== "inside").length;
    const size = Math.min(width, 460);
    const line = (offset, dash) => ({
      data: { values: [{ x: Math.max(start, start - offset), y: Math.max(start, start - offset) + offset }, { x: Math.min(end, limit - offset), y: Math.min(end, limit - offset) + offset }] },
      mark: { type: "line", color: colour.mute, strokeWidth: 1, strokeDash: dash, clip: true, tooltip: null, aria: false },
      encoding: { x: { field: "x", type: "quantitative" }, y: { field: "y", type: "quantitative" } },
    });
    return {
      width: size,
      height: Math.round(size * 0.86),
      data: { values },
      layer: [
        line(0, [1, 0]), line(0.1, [4, 3]), line(-0.1, [4, 3]),
        {
          mark: { type: "point", filled: true, opacity: rows.length > 100 ? 0.55 : 0.8, size: rows.length > 100 ? 26 : 42 },
          params: [{ name: "hover", select: { type: "point", on: "pointerover", clear: "pointerout", nearest: false } }],
          encoding: {
            x: quantitative("true", "true barrier (eV)", [start, end]),
            y: quantitative("shown", "predicted barrier (eV)", [start, Math.max(end, Math.min(limit, Math.max(...values.map((row) => row.shown))))]),
            color: {
              field: "status", type: "nominal", title: null,
              scale: { domain: ["value", "not converged", "no value (train median)"], range: [colour.accent, colour.mark, colour.mute] },
              legend: rows.some((row) => row.status !== "value") ? {} : null,
            },
            shape: {
              field: "place", type: "nominal", title: null,
              scale: { domain: ["inside", "above the frame", "below the frame"], range: ["circle", "triangle-up", "triangle-down"] },
              legend: null,
            },
            stroke: { condition: { param: "hover", empty: false, value: colour.ink }, value: null },
            description: { field: "label" },
            tooltip: tooltip(rows),
          },
        },
      ],
      note: outside ? `${outside} prediction${outside > 1 ? "s lie" : " lies"} beyond the frame and stand${outside > 1 ? "" : "s"} at its edge as a triangle.` : "",
    };
  }

  function histogram(rows, model, colour, width) {
    const values = model.histogram.map((bin) => ({
      ...bin,
      start: Math.max(bin.x, -1.1), end: Math.min(bin.x + 0.1, 1.1),
      range: bin.x < -1.05 ? "below −1 eV" : bin.x > 0.95 ? "from 1 eV on" : `${bin.x.toFixed(1)} to ${(bin.x + 0.1).toFixed(1)} eV`,
    }));
    return {
      width: Math.min(width, 460),
      height: 240,
      data: { values },
      mark: { type: "bar", binSpacing: 1 },
      encoding: {
        x: { field: "start", type: "quantitative", bin: { binned: true }, title: "error (eV); the outermost bars hold all beyond", scale: { domain: [-1.1, 1.1], nice: false }, axis: { values: [-1, -0.5, 0, 0.5, 1] } },
        x2: { field: "end" },
        y: { field: "n", type: "quantitative", title: "paths", axis: { tickCount: 5 } },
        color: { field: "class", type: "nominal", title: null, scale: { domain: ["< 0.1 eV", "0.1–0.3 eV", "> 0.3 eV"], range: [colour.good, colour.fair, colour.poor] } },
        tooltip: [{ field: "range", title: "error" }, { field: "n", title: "paths" }],
      },
    };
  }

  function tracks(rows, model, colour, width) {
    const chosen = model.tracks.map((k) => rows[k]);
    const materials = [...new Set(chosen.map((row) => row.material))];
    const end = Math.ceil(Math.max(...chosen.map((row) => row.true)) * 12.5) / 10;
    const values = chosen.map((row) => ({
      ...row,
      shown: Math.min(Math.max(row.predicted, 0), end),
      band: materials.indexOf(row.material) % 2,
      label: `${row.id}: true ${row.true.toFixed(2)} eV, predicted ${row.predicted.toFixed(2)} eV`,
    }));
    const x = (field) => quantitative(field, "barrier (eV)", [0, end], { axis: { orient: "top" } });
    const y = { field: "id", type: "nominal", sort: chosen.map((row) => row.id), title: null, axis: { labelLimit: narrow() ? 110 : 180, ticks: false, domain: false } };
    return {
      width: Math.min(width - (narrow() ? 90 : 150), 560),
      height: { step: 17 },
      data: { values },
      encoding: { y },
      layer: [
        { transform: [{ filter: "datum.band == 1" }], mark: { type: "bar", color: colour.line, opacity: 0.45, height: { band: 1 }, aria: false, tooltip: null },
          encoding: { x: { datum: 0 }, x2: { datum: end } } },
        { mark: { type: "rule", color: colour.mute, strokeWidth: 1, aria: false }, encoding: { x: x("true"), x2: { field: "shown" } } },
        { mark: { type: "tick", thickness: 2.5, height: 13, color: colour.ink }, encoding: { x: x("true"), tooltip: tooltip(rows), description: { field: "label" } } },
        { mark: { type: "point", filled: true, size: 46, color: colour.accent, opacity: 1 }, encoding: { x: x("shown"), tooltip: tooltip(rows), description: { field: "label" } } },
      ],
      note: "Bar: the true barrier. Dot: the prediction. Shaded bands part the materials.",
    };
  }

  function calibration(rows, model, colour, width) {
    const x = quantitative("expected", "expected share", [0, 1]);
    const share = (field) => quantitative(field, "observed share", [0, 1]);
    return {
      width: Math.min(width, 320),
      height: Math.min(width, 320),
      data: { values: model.calibration },
      layer: [
        { data: { values: [{ at: 0 }, { at: 1 }] }, mark: { type: "line", color: colour.mute, strokeDash: [4, 3], strokeWidth: 1, tooltip: null },
          encoding: { x: { field: "at", type: "quantitative" }, y: { field: "at", type: "quantitative" } } },
        { mark: { type: "rule", color: colour.accent }, encoding: { x, y: share("low"), y2: { field: "high" } } },
        { mark: { type: "line", color: colour.accent, point: { size: 45, color: colour.accent } }, encoding: { x, y: share("observed"), tooltip: [{ field: "expected" }, { field: "observed" }] } },
      ],
    };
  }

  function curve(rows, model, colour, width) {
    const values = model.curve.map((point) => ({ ...point, label: `${point.n} training paths: MAE ${point.mae.toFixed(3)} eV` }));
    const ends = [0.8 * values[0].n, 1.25 * values[values.length - 1].n];
    const x = { field: "n", type: "quantitative", title: "training paths", scale: { type: "log", domain: ends, nice: false }, axis: { values: values.map((point) => point.n), grid: false } };
    const y = (field) => ({ field, type: "quantitative", title: "MAE (eV)", scale: { zero: true }, axis: { tickCount: 6 } });
    return {
      width: Math.min(width, 460),
      height: 240,
      data: { values },
      layer: [
        { mark: { type: "rule", color: colour.accent, aria: false, tooltip: null }, encoding: { x, y: y("low"), y2: { field: "high" } } },
        { mark: { type: "line", color: colour.accent, aria: false, tooltip: null }, encoding: { x, y: y("mae") } },
        { mark: { type: "point", filled: true, size: 55, color: colour.accent, opacity: 1 },
          encoding: { x, y: y("mae"), description: { field: "label" }, tooltip: [
            { field: "n", title: "training paths" }, { field: "mae", title: "MAE (eV)", format: ".3f" },
            { field: "low", title: "from", format: ".3f" }, { field: "high", title: "to", format: ".3f" }] } },
      ],
    };
  }

  const PLOTS = { parity, histogram, tracks, curve, calibration };

  // --- Drawing

  async function draw(holder) {
    const { plot, split } = holder.dataset;
    const colour = palette();
    const { note, ...spec } = PLOTS[plot](rowsOf(split), models[split], colour, holder.clientWidth - 64);
    const described = holder.parentElement.querySelector("figcaption").textContent.replace(/\s+/g, " ").trim();
    const result = await window.vegaEmbed(holder, { ...spec, description: described, config: config(colour) }, {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true, tooltip: { theme: dark.matches ? "dark" : "light" },
    });
    holder.finish = () => result.finalize();
    if (note) holder.after(Object.assign(document.createElement("p"), { className: "note plot-note", textContent: note }));
    if (plot === "parity" || plot === "tracks" || plot === "curve") reachByKeyboard(holder);
    holder.dataset.drawn = dark.matches ? "dark" : "light";
  }

  // One stop for the Tab key a plot, arrows inside it: 619 stops would be no help.
  function reachByKeyboard(holder) {
    const points = [...holder.querySelectorAll("[aria-roledescription=point]")];
    if (!points.length) return;
    const says = document.createElement("p");
    says.className = "says";
    says.setAttribute("role", "status");
    holder.after(says);
    let at = 0;
    const go = (k) => {
      points[at].setAttribute("tabindex", "-1");
      at = (k + points.length) % points.length;
      points[at].setAttribute("tabindex", "0");
      points[at].focus();
    };
    points.forEach((point, k) => {
      point.setAttribute("tabindex", k ? "-1" : "0");
      point.addEventListener("focus", () => (says.textContent = point.getAttribute("aria-label")));
      point.addEventListener("blur", () => (says.textContent = ""));
      point.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        go(k + step);
      });
    });
  }

  function redraw() {
    for (const holder of document.querySelectorAll("[data-drawn]")) {
      holder.finish();
      for (const extra of holder.parentElement.querySelectorAll(".plot-note, .says")) extra.remove();
      draw(holder);
    }
  }

  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "400px" });

  for (const holder of document.querySelectorAll("[data-plot]")) near.observe(holder);
  dark.addEventListener("change", redraw);
  let width = window.innerWidth;
  let pending;
  window.addEventListener("resize", () => {
    clearTimeout(pending);
    pending = setTimeout(() => {
      if (window.innerWidth !== width) ((width = window.innerWidth), redraw());
    }, 200);
  });
  document.documentElement.dataset.ready = "true";
})();
