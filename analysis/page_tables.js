// ---- legend, tables, hypervolume -----------------------------------------------------------------------------
function drawLegend() {
  const box = $("legend"), add = (i, status, words) => {
    const span = html(box, "span"), svg = put(span, "svg", { width: 22, height: 22 });
    marker(svg, i, 11, 11, status, 0.9);
    span.append(words);
  };
  box.replaceChildren();
  for (const name of R.architectures) for (const role of ["teacher", "student"]) {
    const i = view.shown.find((k) => R.trials.architecture[k] === name && (R.trials.role[k] === "teacher") === (role === "teacher"));
    if (i !== undefined) add(i, "front", role === "teacher" ? `${name}, teacher` : name);
  }
  html(box, "span", objectives().length > 2 ? `filled: on the front with ${axis[state.z].short}` : "filled: on the front");
  if (view.shown.length > CROWD) html(box, "span", "dots: dominated");
  else if (view.shown.some((i) => view.status(i) === "dominated")) html(box, "span", "hollow: dominated");
  if (view.shown.length <= CROWD && view.shown.some((i) => view.status(i) === "sure")) html(box, "span", "small and faint: dominated, 95 % confident");
}
function describe(i) {
  const rows = [];
  for (const a of R.axes) {
    const v = value(i, a.name);
    if (v === null) continue;
    const s = R.intervals[a.name] && R.intervals[a.name][i];
    let text = showOf(i, v, a);
    if (s) text += ` [${show(s[0], a, false)}, ${show(s[1], a, false)}]`;
    if (a.upper && R.metrics[a.upper] && R.metrics[a.upper][i] !== null) text += ` (p90 ${show(R.metrics[a.upper][i], a, false)})`;
    rows.push([a.label, text]);
    const t = a.test && R.metrics[a.test] ? R.metrics[a.test][i] : null;
    if (t !== null) rows.push([a.label.replace("Validation", "Test"), show(t, a)]);
  }
  return rows;
}
function parameters(i) { return Object.entries(R.params).filter(([, p]) => p.at[i] >= 0).map(([k, p]) => [k, /^[0-9a-f]{64}$/.test(p.values[p.at[i]]) ? p.values[p.at[i]].slice(0, 8) : p.values[p.at[i]]]); }
function status(i) {
  const p = probability(i), words = { front: "on the front", dominated: "dominated", sure: "dominated, 95 % confident" }[view.status(i)];
  return p === null || p === undefined ? words : `${words}; on the front of all trials in ${(100 * p).toFixed(0)} % of draws`;
}
function showTip(p, event) {
  const tip = $("tip");
  tip.replaceChildren();
  html(tip, "b", R.trials.name[p.i]);
  html(tip, "div", `${R.trials.architecture[p.i]}, ${R.trials.role[p.i]} \u00b7 ${R.trials.sweep[p.i]}`);
  const main = new Set([...objectives(), "accuracy", "auc", "size_mb", "latency", "latency_ratio"].map((n) => axis[n] && axis[n].label));
  const list = html(tip, "dl");
  for (const [k, v] of describe(p.i)) if (main.has(k) || main.has(k.replace("Test", "Validation"))) { html(list, "dt", k); html(list, "dd", v); }
  for (const [k, v] of parameters(p.i).filter(([k]) => R.params[k].values.length > 1 && k !== "architecture").slice(0, 9)) { html(list, "dt", k); html(list, "dd", v); }
  html(tip, "p", status(p.i));
  html(tip, "p", state.pinned.has(p.i) ? "Click to unpin." : "Click to pin and compare; the pinned table links to the run.");
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(6, Math.min(event.clientX + 16, innerWidth - box.width - 10)) + "px";
  tip.style.top = Math.max(6, Math.min(event.clientY + 14, innerHeight - box.height - 10)) + "px";
}
function nearest(event) {
  const box = $("plot").getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  let best = null, far = 18 * 18;
  for (const p of view.points) { const d = (p.x - x) ** 2 + (p.y - y) ** 2; if (d < far) { far = d; best = p; } }
  return best;
}
function runLink(i) { return `${R.link}/#/experiments/${R.trials.experiment[i]}/runs/${R.trials.id[i]}?workflowType=machine_learning`; }
function anchor(parent, i, text) {
  const a = html(parent, "a", text);
  a.href = runLink(i); a.target = "_blank"; a.rel = "noopener";
}
function drawPinned() {
  const pins = [...state.pinned], table = $("pinned");
  $("compare").hidden = !pins.length;
  table.replaceChildren();
  if (!pins.length) return;
  const head = html(html(table, "thead"), "tr");
  html(head, "th", "");
  for (const i of pins) anchor(html(head, "th"), i, R.trials.name[i]);
  const body = html(table, "tbody"), columns = pins.map((i) => new Map([["Sweep", R.trials.sweep[i]], ["Finished", R.trials.ended[i]],
    ["Standing", status(i)], ...describe(i), ...parameters(i)]));
  for (const key of new Set(columns.flatMap((c) => [...c.keys()]))) {
    const row = html(body, "tr"), cells = columns.map((c) => (c.has(key) ? c.get(key) : "-"));
    html(row, "td", key);
    for (const cell of cells) html(row, "td", cell, new Set(cells).size > 1 ? "differs" : "");
  }
}
const COLUMNS = () => {
  const ax = axis[state.x], ay = axis[state.y];
  const test = ay.test && R.metrics[ay.test], list = [["trial", (i) => R.trials.name[i]], ["model", (i) => R.trials.architecture[i]],
    ["sweep", (i) => R.trials.sweep[i]], [ay.short, (i) => value(i, state.y), ay]];
  if (R.intervals[state.y]) list.push(["95 % interval", (i) => { const s = interval(i); return s ? `${show(s[0], ay, false)} to ${show(s[1], ay, false)}` : "-"; }]);
  if (test) list.push([ay.short.replace("val", "test"), (i) => test[i], ay]);
  list.push([ax.short, (i) => value(i, state.x), ax]);
  for (const name of ["size_mb", "latency", "latency_ratio", "parameters", "macs"])
    if (name !== state.x && axis[name]) list.push([axis[name].short, (i) => value(i, name), axis[name]]);
  list.push(["on the front", (i) => probability(i), { scale: 100, decimals: 0, unit: "% of draws" }]);
  return list;
};
function drawTable() {
  const columns = COLUMNS(), table = $("trials"), by = state.sort || { k: 3, down: axis[state.y].maximise };
  const get = columns[Math.min(by.k, columns.length - 1)][1];
  const rows = [...view.shown].sort((a, b) => {
    const u = get(a), v = get(b), order = typeof u === "string" ? u.localeCompare(v, "en", { numeric: true }) : (u ?? -Infinity) - (v ?? -Infinity);
    return by.down ? -order : order;
  });
  table.replaceChildren();
  const head = html(html(table, "thead"), "tr");
  columns.forEach(([title], k) => {
    const th = html(head, "th", title + (k === by.k ? (by.down ? " \u2193" : " \u2191") : ""));
    th.onclick = () => { state.sort = { k, down: k === by.k ? !by.down : typeof columns[k][1](rows[0]) !== "string" }; drawTable(); };
  });
  const body = html(table, "tbody"), few = state.all ? rows : rows.slice(0, ROWS);
  for (const i of few) {
    const row = html(body, "tr", undefined, state.pinned.has(i) ? "pinned" : "");
    row.onclick = () => toggle(i);
    for (const [, f, a] of columns) { const v = f(i); html(row, "td", a ? showOf(i, v, a) : v); }
  }
  $("table-title").textContent = `Trials shown: ${rows.length} of ${R.trials.data.filter((d) => d === state.data).length}`;
  $("more").hidden = rows.length <= few.length;
}
// Hypervolume after each trial, in the order they finished; costs count up to 1.1 times the largest shown.
function drawGrowth() {
  const svg = $("growth"), W = svg.clientWidth || 1000, H = svg.clientHeight || 150, ax = axis[state.x], ay = axis[state.y];
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
  const shown = [...view.shown].sort((a, b) => R.trials.order[a] - R.trials.order[b]);
  if (!shown.length) return;
  let worstX = 0, worstY = ay.maximise ? R.chance : -Infinity;
  for (const i of shown) { worstX = Math.max(worstX, value(i, state.x)); if (!ay.maximise) worstY = Math.max(worstY, value(i, state.y)); }
  worstX *= 1.1;
  const ideal = ay.maximise ? 1 : 0, box = worstX * Math.abs(ideal - worstY), sign = ay.maximise ? -1 : 1;
  let front = [], total = [];
  for (const i of shown) {
    const c = [value(i, state.x), sign * value(i, state.y)];
    if (c[1] < sign * worstY && !front.some((f) => f[0] <= c[0] && f[1] <= c[1])) {
      front = front.filter((f) => !(c[0] <= f[0] && c[1] <= f[1]));
      front.push(c);
      front.sort((a, b) => a[0] - b[0]);
    }
    let area = 0, low = sign * worstY;
    for (const [u, v] of front) { area += (worstX - u) * (low - v); low = v; }
    total.push(box ? area / box : 0);
  }
  const top = Math.max(...total) * 1.1 || 1, px = scaleOf(0, Math.max(total.length, 2), 62, W - 18, false), py = scaleOf(0, top, H - 30, 10, false);
  for (const t of ticks(0, top, false).slice(0, 5)) {
    put(svg, "line", { x1: 62, x2: W - 18, y1: py(t), y2: py(t), stroke: "#e8e8e8" });
    put(svg, "text", { x: 54, y: py(t) + 4, "text-anchor": "end", class: "soft" }, String(+t.toPrecision(4)));
  }
  put(svg, "path", { d: "M" + total.map((v, k) => `${px(k).toFixed(1)},${py(v).toFixed(1)}H${px(k + 1).toFixed(1)}`).join("L"), fill: "none", stroke: "#0072b2", "stroke-width": 2 });
  put(svg, "text", { x: (62 + W - 18) / 2, y: H - 6, "text-anchor": "middle", class: "soft" }, `trials finished (1 to ${total.length})`);
  $("growth-title").textContent = `Hypervolume of the trials shown: ${total[total.length - 1].toFixed(3)} of the box from (${show(worstX, ax)}, ${show(worstY, ay)}) to the ideal corner`;
}

// ---- controls ------------------------------------------------------------------------------------------------
function redraw() {
  const shown = chosen(), line = frontOf(shown, [state.x, state.y]), front = objectives().length > 2 ? frontOf(shown, objectives()) : line;
  view = { ...view, shown, front, line, status: (i) => {
    if (front.has(i)) return "front";
    const p = probability(i);
    return p !== null && p !== undefined && p < R.sure ? "sure" : "dominated";
  } };
  drawPlot(); drawLegend(); drawPinned(); drawTable(); drawGrowth();
  const parts = [];
  if (state.bars && R.intervals[state.y] && view.shown.some((i) => interval(i))) parts.push("Bars: 95 % interval, bootstrap over source videos.");
  if (state.published) parts.push(`Crosses: published in ${R.source}; test accuracy on other data, another split and other hardware.`);
  if (state.bars && axis[state.x].upper) parts.push("Sideways bars: median to p90.");
  if (shown.some((i) => R.axes.some((a) => noisy(i, a)))) parts.push(R.noise + ".");
  if (shown.length <= 60) parts.push("Points of equal cost stand side by side.");
  parts.push("The front is of the trials shown and is chosen on validation; test scores are for reading only.");
  $("reading").textContent = parts.join(" ");
}
function toggle(i) { if (!state.pinned.delete(i)) state.pinned.add(i); $("tip").hidden = true; redraw(); }
function fill(select, options, chosenValue) {
  select.replaceChildren();
  for (const [v, text] of options) { const o = html(select, "option", text); o.value = v; o.selected = v === chosenValue; }
}
function chips(id, key, names) {
  const box = $(id);
  box.replaceChildren();
  for (const name of names) {
    const label = html(box, "label"), input = html(label, "input");
    input.type = "checkbox"; input.checked = !state.off[key].has(name); input.value = name;
    label.append(name);
    input.onchange = () => { if (input.checked) state.off[key].delete(name); else state.off[key].add(name); redraw(); };
  }
}
function drawLimits() {
  const box = $("limits");
  box.replaceChildren();
  for (const name of [...new Set(["size_mb", "latency_ratio", state.x, state.y])]) {
    const a = axis[name];
    if (!a) continue;
    html(box, "span", `${a.short} ${a.maximise ? "\u2265" : "\u2264"}${a.unit ? ` (${a.unit})` : ""}`);
    const input = html(box, "input");
    input.type = "number"; input.step = "any"; input.id = `limit-${name}`;
    input.value = state.limits[name] ?? "";
    input.oninput = () => { if (input.value === "") delete state.limits[name]; else state.limits[name] = +input.value; redraw(); };
  }
}
function dataChanged() {
  const mine = Array.from({ length: N }, (_, i) => i).filter((i) => R.trials.data[i] === state.data), of = (key) => [...new Set(mine.map((i) => R.trials[key][i]))].sort();
  chips("architectures", "architecture", of("architecture"));
  chips("sweeps", "sweep", of("sweep"));
  $("notes").replaceChildren();
  for (const note of [...R.data[state.data].notes, ...R.notes]) html($("notes"), "li", note);
  $("subtitle").textContent = R.data[state.data].subtitle;
}
function reset() {
  Object.assign(state, { log: false, bars: true, words: "", limits: {}, sort: null, all: false, x: R.x, y: R.y, z: R.z, published: false });
  state.off.architecture.clear(); state.off.sweep.clear();
  $("log").checked = false; $("bars").checked = true; $("words").value = ""; $("x").value = R.x; $("y").value = R.y; $("z").value = R.z; $("published").checked = false;
  dataChanged(); drawLimits(); redraw();
}
$("title").textContent = R.title;
$("data-row").hidden = R.data.length < 2;
fill($("data"), R.data.map((d, k) => [String(k), d.name]), "0");
fill($("x"), R.axes.filter((a) => a.cost).map((a) => [a.name, a.label]), state.x);
fill($("z"), [["", "nothing else"], ...R.axes.filter((a) => a.cost).map((a) => [a.name, a.label])], state.z);
fill($("y"), R.axes.filter((a) => !a.cost).map((a) => [a.name, a.label]), state.y);
$("data").onchange = (e) => { state.data = +e.target.value; state.pinned.clear(); dataChanged(); redraw(); };
$("x").onchange = (e) => { state.x = e.target.value; drawLimits(); redraw(); };
$("y").onchange = (e) => { state.y = e.target.value; drawLimits(); redraw(); };
$("z").onchange = (e) => { state.z = e.target.value; redraw(); };
$("published").onchange = (e) => { state.published = e.target.checked; redraw(); };
$("log").onchange = (e) => { state.log = e.target.checked; redraw(); };
$("bars").onchange = (e) => { state.bars = e.target.checked; redraw(); };
$("words").oninput = (e) => { state.words = e.target.value; redraw(); };
$("reset").onclick = reset;
$("unpin").onclick = () => { state.pinned.clear(); redraw(); };
$("more").onclick = () => { state.all = true; drawTable(); };
$("plot").onmousemove = (e) => { const p = nearest(e); if (p) showTip(p, e); else $("tip").hidden = true; };
$("plot").onmouseleave = () => { $("tip").hidden = true; };
$("plot").onclick = (e) => { const p = nearest(e); if (p) toggle(p.i); };
addEventListener("resize", () => { drawPlot(); drawGrowth(); });
dataChanged(); drawLimits(); redraw();
