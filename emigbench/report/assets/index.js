"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("data");
  const subsets = read("subset-sizes");
  const $ = (id) => document.getElementById(id);
  const sections = [...document.querySelectorAll("section.board")];
  const kinds = [...document.querySelectorAll("#kinds input")];
  const BY_SUBSET = ["mae", "rmse", "r2", "share_below_100_mev"];
  const BY_THRESHOLD = ["accuracy", "mcc"];
  const INITIAL = { split: $("split").value, subset: "all", threshold: $("threshold").value, q: "" };

  // --- Figures of a subset and a threshold

  const shown = (value, digits) =>
    (Math.abs(value) < 1e5 ? value.toFixed(digits) : value.toExponential(2).replace(/e\+?(-?)(\d)$/, "e+$10$2")).replace("-", "−");

  const percent = (value, low, high) =>
    (100 * Math.min(Math.max((value - low) / (high - low), 0), 1)).toFixed(1) + "%";

  function fill(cell, triple, scale) {
    const [value, low, high] = triple || [null, null, null];
    const digits = Number(cell.dataset.digits);
    cell.dataset.v = value === null ? "" : value;
    cell.querySelector(".num").textContent = value === null ? "–" : shown(value, digits);
    let interval = cell.querySelector(".ci");
    if (!interval && low === null) return;
    if (!interval) {
      interval = document.createElement("span");
      interval.className = "ci";
      cell.querySelector(".num").after(" ", interval);
    }
    interval.textContent = low === null || high === null ? "" : `[${shown(low, digits)}, ${shown(high, digits)}]`;
    const drawing = cell.querySelector("svg");
    if (!drawing || !scale) return;
    drawing.classList.toggle("empty", value === null);
    if (value === null || !drawing.firstElementChild) return;
    const [, whisker, dot] = drawing.children;
    whisker.setAttribute("x1", percent(low === null ? value : low, ...scale));
    whisker.setAttribute("x2", percent(high === null ? value : high, ...scale));
    dot.setAttribute("cx", percent(value, ...scale));
  }

  function fillRows(section, subset, threshold) {
    const wanted = `${subset} ${threshold}`;
    if ((section.dataset.shows || `all ${INITIAL.threshold}`) === wanted) return false;
    section.dataset.shows = wanted;
    const table = section.querySelector("table.main");
    const scale = [Number(table.dataset.low), Number(table.dataset.high)];
    for (const row of table.tBodies[0].rows) {
      const known = figures[section.dataset.split][row.dataset.slug];
      const part = known.subsets[subset] || (subset === "covered" ? known.subsets.all : {});
      for (const name of BY_SUBSET) fill(row.querySelector(`[data-col=${name}]`), part[name], name === "mae" && scale);
      for (const name of BY_THRESHOLD)
        fill(row.querySelector(`[data-col=${name}]`), known.thresholds[threshold][name], name === "accuracy" && [0, 1]);
    }
    const label = subsets[section.dataset.split].find(([name]) => name === subset)[1];
    section.querySelector(".caption-subset").textContent = label;
    section.classList.toggle("on-subset", subset !== "all");
    return true;
  }

  // --- Sorting

  function sort(table, key, direction) {
    const head = table.tHead.querySelector(`[data-key="${key}"]`);
    const text = head.dataset.type === "text";
    const sign = direction === "ascending" ? 1 : -1;
    const value = (row) => row.querySelector(`[data-col="${key}"]`).dataset.v;
    const rows = [...table.tBodies[0].rows].map((row, k) => [value(row), k, row]);
    rows.sort(([a, i], [b, j]) => {
      if (a === "" || b === "") return (a === "") - (b === "") || i - j;
      return sign * (text ? a.localeCompare(b, "en") : a - b) || i - j;
    });
    table.tBodies[0].append(...rows.map(([, , row]) => row));
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", direction);
  }

  function sortAgain(table) {
    const head = table.tHead.querySelector("[aria-sort=ascending], [aria-sort=descending]");
    if (head) sort(table, head.dataset.key, head.getAttribute("aria-sort"));
  }

  for (const button of document.querySelectorAll("th[data-key] button")) {
    button.addEventListener("click", () => {
      const head = button.parentElement;
      const now = head.getAttribute("aria-sort");
      const other = now === "ascending" ? "descending" : "ascending";
      sort(head.closest("table"), head.dataset.key, now === "none" ? head.dataset.first : other);
    });
  }

  // --- Filters

  function filter(section) {
    const words = $("query").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set(kinds.filter((box) => box.checked).map((box) => box.value));
    let n = 0;
    const rows = section.querySelector("table.main").tBodies[0].rows;
    for (const row of rows) {
      row.hidden = !wanted.has(row.dataset.kind) || !words.every((word) => row.dataset.search.includes(word));
      n += !row.hidden;
    }
    section.querySelector(".none").hidden = n > 0;
    $("status").textContent = `${n} of ${rows.length} rows`;
  }

  // --- State: in the controls, and in the address so that a view can be passed on

  function offerSubsets(split, wanted) {
    const options = subsets[split].map(([name, label, n]) => {
      const option = document.createElement("option");
      option.value = name;
      option.textContent = n === null ? label : `${label} (${n})`;
      return option;
    });
    $("subset").replaceChildren(...options);
    $("subset").value = subsets[split].some(([name]) => name === wanted) ? wanted : "all";
    $("subset").disabled = options.length === 1;
  }

  function show() {
    const split = $("split").value;
    offerSubsets(split, $("subset").value);
    for (const section of sections) section.hidden = section.dataset.split !== split;
    const section = sections.find((each) => !each.hidden);
    const changed = fillRows(section, $("subset").value, $("threshold").value);
    if (changed) sortAgain(section.querySelector("table.main"));
    filter(section);
    remember();
  }

  function remember() {
    const state = { split: $("split").value, subset: $("subset").value, threshold: $("threshold").value, q: $("query").value };
    const changed = Object.entries(state).filter(([key, value]) => value !== INITIAL[key]);
    const hash = new URLSearchParams(changed).toString();
    if (hash !== location.hash.slice(1)) history.replaceState(null, "", hash ? `#${hash}` : location.pathname);
  }

  function recall() {
    const state = new URLSearchParams(location.hash.slice(1));
    const choose = (id, value) => {
      if ([...$(id).options].some((option) => option.value === value)) $(id).value = value;
    };
    choose("split", state.get("split") || INITIAL.split);
    offerSubsets($("split").value, state.get("subset") || "all");
    choose("threshold", state.get("threshold") || INITIAL.threshold);
    $("query").value = state.get("q") || "";
  }

  recall();
  show();
  for (const id of ["split", "subset", "threshold"]) $(id).addEventListener("change", show);
  $("query").addEventListener("input", () => (filter(sections.find((each) => !each.hidden)), remember()));
  for (const box of kinds) box.addEventListener("change", () => filter(sections.find((each) => !each.hidden)));
  document.querySelector("form.controls").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", () => {
    if (location.hash !== "#main") (recall(), show());
  });
  document.documentElement.dataset.ready = "true";
})();
