"use strict";
const R = JSON.parse(document.getElementById("record").textContent);
const $ = (id) => document.getElementById(id);
const N = R.trials.name.length, MARGIN = { left: 62, right: 18, top: 26, bottom: 50 };
const ROWS = 50, CROWD = 300, LABELS = 12, SVG = "http://www.w3.org/2000/svg";
const axis = Object.fromEntries(R.axes.map((a) => [a.name, a]));
const state = { x: R.x, y: R.y, z: R.z, published: false, data: 0, log: false, bars: true, words: "", off: { architecture: new Set(), sweep: new Set() },
  limits: {}, pinned: new Set(), sort: null, all: false };
const styles = Object.fromEntries(R.architectures.map((name, i) => [name, { colour: R.colours[i % R.colours.length],
  shape: R.shapes[i % R.shapes.length] }]));
const haystack = Array.from({ length: N }, (_, i) => [R.trials.name[i], R.trials.sweep[i], ...Object.entries(R.params)
  .filter(([, p]) => p.at[i] >= 0).map(([k, p]) => k + "=" + p.values[p.at[i]])].join(" ").toLowerCase());
let view = { shown: [], points: [] };

function value(i, name) { const v = R.metrics[axis[name].key]; return v ? v[i] : null; }
function show(v, a, unit = true) {
  return v === null || v === undefined ? "-" : (v * a.scale).toFixed(a.decimals) + (unit && a.unit ? " " + a.unit : "");
}
// A trial's own value as text; a latency that was measured with much noise has a tilde before it.
function noisy(i, a) { const n = a.noise && R.metrics[a.noise]; return n && value(i, a.name) !== null ? n[i] > R.noisy : false; }
function showOf(i, v, a) { return (noisy(i, a) ? "~" : "") + show(v, a); }
function put(parent, tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const k in attributes) node.setAttribute(k, attributes[k]);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}
function html(parent, tag, text, cls) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (cls) node.className = cls;
  parent.appendChild(node);
  return node;
}

// ---- what is shown -------------------------------------------------------------------------------------------
function chosen() {
  const words = state.words.toLowerCase().split(/\s+/).filter(Boolean), out = [];
  for (let i = 0; i < N; i++) {
    if (R.trials.data[i] !== state.data || objectives().some((name) => value(i, name) === null)) continue;
    if (state.off.architecture.has(R.trials.architecture[i]) || state.off.sweep.has(R.trials.sweep[i])) continue;
    if (!words.every((w) => haystack[i].includes(w))) continue;
    if (Object.entries(state.limits).every(([name, limit]) => {
      const v = value(i, name);
      return v !== null && (axis[name].maximise ? v * axis[name].scale >= limit : v * axis[name].scale <= limit);
    })) out.push(i);
  }
  return out;
}
// Marks the trials that no shown trial dominates: nowhere worse and somewhere better. Equal points are marked alike.
function frontOf(shown, names) {
  const costs = shown.map((i) => [i, names.map((name) => (axis[name].maximise ? -1 : 1) * value(i, name))]);
  const front = [], none = (a, b) => a.every((v, k) => v <= b[k]) && a.some((v, k) => v < b[k]);
  costs.sort(([, a], [, b]) => { for (let k = 0; k < a.length; k++) if (a[k] !== b[k]) return a[k] - b[k]; return 0; });
  for (const [i, c] of costs) if (!front.some(([, other]) => none(other, c))) front.push([i, c]);
  return new Set(front.map(([i]) => i));
}
function objectives() { return state.z && state.z !== state.x ? [state.x, state.y, state.z] : [state.x, state.y]; }
function probability(i) {
  const p = R.probability[objectives().length > 2 ? `${state.x}|${state.z}` : state.x];
  return p && state.y === R.y ? p[i] : null;
}
function interval(i) { const s = R.intervals[state.y]; return s ? s[i] : null; }

// ---- the plot ------------------------------------------------------------------------------------------------
function ticks(low, high, log) {
  if (log) {
    const out = [], wide = Math.log10(high / low) > 1.5;
    for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++)
      for (const m of wide ? [1] : [1, 2, 3, 5, 7]) { const t = m * 10 ** p; if (t >= low && t <= high) out.push(t); }
    if (out.length > 1) return out;
  }
  const rough = (high - low) / 6, p = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * p).find((s) => s >= rough), out = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) out.push(+(k * step).toPrecision(12));
  return out;
}
function shapePath(shape, x, y, r) {
  const turn = (n, spin, inner) => Array.from({ length: n }, (_, k) => {
    const a = spin + (2 * Math.PI * k) / n, q = inner && k % 2 ? r * inner : r;
    return `${(x + q * Math.cos(a)).toFixed(1)},${(y + q * Math.sin(a)).toFixed(1)}`;
  }).join("L");
  const up = -Math.PI / 2;
  if (shape === "star") return `M${turn(10, up, 0.42)}Z`;
  if (shape === "square") return `M${turn(4, Math.PI / 4)}Z`;
  if (shape === "diamond") return `M${turn(4, up)}Z`;
  if (shape === "triangle") return `M${turn(3, up)}Z`;
  if (shape === "down") return `M${turn(3, -up)}Z`;
  if (shape === "hexagon") return `M${turn(6, up)}Z`;
  return `M${x - r},${y}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`;
}
function marker(parent, i, x, y, status, scale = 1) {
  const teacher = R.trials.role[i] === "teacher", s = styles[R.trials.architecture[i]];
  const r = (teacher ? 10 : status === "sure" ? 4 : 6) * scale;
  if (scale < 0) return put(parent, "circle", { cx: x, cy: y, r: 2.2, fill: s.colour, opacity: 0.35 });
  return put(parent, "path", { d: shapePath(teacher ? "star" : s.shape, x, y, r), fill: status === "front" ? s.colour : "#fff",
    stroke: status === "front" ? "#000" : s.colour, "stroke-width": status === "front" ? 0.9 : 1.6, opacity: status === "sure" ? 0.5 : 1 });
}
function scaleOf(low, high, from, to, log) {
  const f = log ? Math.log10 : (v) => v, a = f(low), b = f(high);
  return (v) => from + ((f(v) - a) / (b - a)) * (to - from);
}
function drawPlot() {
  const svg = $("plot"), W = svg.clientWidth || 1000, H = svg.clientHeight || 520, ax = axis[state.x], ay = axis[state.y];
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
  const shown = view.shown, front = view.front, line = view.line, M = MARGIN;
  if (!shown.length) { put(svg, "text", { x: W / 2, y: H / 2, "text-anchor": "middle" }, "No trial is within these limits."); view.points = []; return; }
  const few = shown.length <= 60, xs = shown.map((i) => value(i, state.x) * ax.scale);
  const upper = ax.upper && R.metrics[ax.upper] ? (i) => R.metrics[ax.upper][i] : () => null;
  const barred = state.bars ? shown.filter((i) => few || front.has(i) || state.pinned.has(i)) : [];
  const ends = shown.map((i) => value(i, state.y) * ay.scale).concat(...barred.map((i) => (interval(i) || []).map((v) => v * ay.scale)));
  let x0 = Infinity, x1 = -Infinity, y0 = Infinity, y1 = -Infinity;
  for (const v of xs) { x0 = Math.min(x0, v); x1 = Math.max(x1, v); }
  for (const i of barred) if (upper(i) !== null) x1 = Math.max(x1, upper(i) * ax.scale);
  for (const v of ends) { y0 = Math.min(y0, v); y1 = Math.max(y1, v); }
  const published = state.published && state.y === "accuracy" ? R.published.filter((p) => p.costs[state.x] !== undefined) : [];
  for (const p of published) {
    const x = p.costs[state.x] * ax.scale, y = p.accuracy * ay.scale;
    x0 = Math.min(x0, x); x1 = Math.max(x1, x); y0 = Math.min(y0, y); y1 = Math.max(y1, y);
  }
  const log = state.log && x0 > 0, tall = Math.max(y1 - y0, 0.02 * Math.abs(y1), 1e-9), wide = Math.max(x1 - x0, 0.12 * Math.abs(x1), 1e-9);
  const ratio = log ? Math.max(x1 / x0, 1.2) ** 0.12 : 1;
  const X0 = log ? x0 / ratio : Math.max(x0 - 0.1 * wide, 0), X1 = log ? x1 * ratio ** 1.5 : x1 + 0.22 * wide, Y0 = y0 - 0.06 * tall, Y1 = y1 + 0.09 * tall;
  const px = scaleOf(X0, X1, M.left, W - M.right, log), py = scaleOf(Y0, Y1, H - M.bottom, M.top, false);
  for (const t of ticks(X0, X1, log)) {
    put(svg, "line", { x1: px(t), x2: px(t), y1: M.top, y2: H - M.bottom, stroke: "#e8e8e8" });
    put(svg, "text", { x: px(t), y: H - M.bottom + 17, "text-anchor": "middle", class: "soft" }, String(+t.toPrecision(6)));
  }
  for (const t of ticks(Y0, Y1, false)) {
    put(svg, "line", { x1: M.left, x2: W - M.right, y1: py(t), y2: py(t), stroke: "#e8e8e8" });
    put(svg, "text", { x: M.left - 8, y: py(t) + 4, "text-anchor": "end", class: "soft" }, String(+t.toPrecision(6)));
  }
  put(svg, "path", { d: `M${M.left},${M.top}V${H - M.bottom}H${W - M.right}`, fill: "none", stroke: "#444" });
  put(svg, "text", { x: (M.left + W - M.right) / 2, y: H - 12, "text-anchor": "middle" }, `${ax.label}${ax.unit ? ` (${ax.unit})` : ""}\u2003\u2190 smaller is better`);
  const side = put(svg, "text", { x: 0, y: 0, "text-anchor": "middle", transform: `translate(15 ${(M.top + H - M.bottom) / 2}) rotate(-90)` });
  side.textContent = `${ay.label}${ay.unit ? ` (${ay.unit})` : ""}\u2003${ay.maximise ? "higher is better \u2192" : "\u2190 lower is better"}`;
  put(svg, "text", { x: M.left + 3, y: M.top - 9, class: "soft" }, ay.maximise ? "\u2196 better" : "\u2199 better");

  const steps = [...line].sort((a, b) => value(a, state.x) - value(b, state.x));
  const floor = ay.maximise ? H - M.bottom : M.top;
  let d = "";
  for (const i of steps) { const at = [px(value(i, state.x) * ax.scale), py(value(i, state.y) * ay.scale)]; d += d ? `H${at[0]}V${at[1]}` : `M${at[0]},${floor}V${at[1]}`; }
  put(svg, "path", { d: `${d}H${W - M.right}V${floor}Z`, fill: "#000", opacity: 0.035 });
  put(svg, "path", { d: `${d}H${W - M.right}`, fill: "none", stroke: "#444", "stroke-width": 1.5, id: "front-line" });

  const columns = new Map(), shift = new Map();
  if (few) for (const i of shown) { const k = value(i, state.x); columns.set(k, [...(columns.get(k) || []), i]); }
  for (const members of columns.values()) {
    members.sort((a, b) => line.has(b) - line.has(a) || R.trials.name[a].localeCompare(R.trials.name[b], "en", { numeric: true }));
    const gap = Math.min(12, (W - 80) / (2.5 * columns.size * members.length));
    members.forEach((i, k) => shift.set(i, k * gap));
  }
  const points = shown.map((i) => ({ i, x: px(value(i, state.x) * ax.scale) + (shift.get(i) || 0), y: py(value(i, state.y) * ay.scale), status: view.status(i) }));
  const order = { sure: 0, dominated: 1, front: 2 }, obstacles = [], where = new Map(points.map((p) => [p.i, p]));
  const crosses = published.map((p) => ({ words: p.name, x: px(p.costs[state.x] * ax.scale), y: py(p.accuracy * ay.scale) }));
  for (const p of crosses) put(svg, "path", { d: `M${p.x - 5},${p.y - 5}l10,10m0,-10l-10,10`, stroke: "#8a8a8a", "stroke-width": 2, class: "published" });
  const bars = put(svg, "g", {}), dots = put(svg, "g", {}), names = put(svg, "g", {});
  const seen = new Set();
  for (const i of barred) {
    const p = where.get(i), c = styles[R.trials.architecture[i]].colour, fade = { stroke: c, "stroke-width": 1.6, opacity: p.status === "sure" ? 0.3 : 0.6 };
    const span = interval(i);
    if (span) {
      const [a, b] = span.map((v) => py(v * ay.scale));
      put(bars, "line", { x1: p.x, x2: p.x, y1: a, y2: b, ...fade });
      obstacles.push([p.x - 1, Math.min(a, b), p.x + 1, Math.max(a, b), 2]);
    }
    const high = upper(i), key = `${value(i, state.x)} ${high}`;
    if (high !== null && !seen.has(key)) {
      seen.add(key);
      const b = px(high * ax.scale) + (shift.get(i) || 0);
      put(bars, "path", { d: `M${p.x},${p.y}H${b}m0,-4v8`, fill: "none", ...fade });
      obstacles.push([p.x, p.y - 1, b, p.y + 1, 2]);
    }
  }
  for (const p of [...points].sort((a, b) => order[a.status] - order[b.status])) {
    const node = marker(dots, p.i, p.x, p.y, p.status, shown.length <= CROWD || state.pinned.has(p.i) ? 1 : p.status === "front" ? 0.75 : -1);
    node.setAttribute("data-i", p.i);
    if (state.pinned.has(p.i)) put(dots, "circle", { cx: p.x, cy: p.y, r: 14, fill: "none", stroke: "#e69f00", "stroke-width": 2.5 });
    if (few) obstacles.push([p.x - 8, p.y - 8, p.x + 8, p.y + 8, 6]);
  }
  steps.forEach((i, k) => { const y = py(value(i, state.y) * ay.scale); obstacles.push([px(value(i, state.x) * ax.scale), y - 1, k + 1 < steps.length ? px(value(steps[k + 1], state.x) * ax.scale) : W - M.right, y + 1, 4]); });
  const spread = spreadAlong(steps.map((i) => where.get(i)));
  if (!few) for (const i of steps) { const p = where.get(i); obstacles.push([p.x - 5, p.y - 5, p.x + 5, p.y + 5, 1]); }
  const named = points.filter((p) => shown.length <= 15 || spread.has(p) || state.pinned.has(p.i))
    .sort((a, b) => state.pinned.has(b.i) - state.pinned.has(a.i) || order[b.status] - order[a.status]).slice(0, 24);
  placeNames(names, [...named, ...crosses], obstacles, [M.left, M.top, W - M.right, H - M.bottom],
    (p) => p.words || `${R.trials.name[p.i]}\u2002${show(value(p.i, state.y), ay)}`);
  view.points = points;
}
// Of a long front, points at about equal distances along the drawn line, its ends among them.
function spreadAlong(line) {
  if (line.length <= LABELS) return new Set(line);
  const along = [0];
  for (let k = 1; k < line.length; k++) along.push(along[k - 1] + Math.abs(line[k].x - line[k - 1].x) + Math.abs(line[k].y - line[k - 1].y));
  return new Set(Array.from({ length: LABELS }, (_, n) => {
    const want = (along[along.length - 1] * n) / (LABELS - 1);
    return line[along.reduce((best, v, k) => (Math.abs(v - want) < Math.abs(along[best] - want) ? k : best), 0)];
  }));
}
// Each name goes to the cheapest free place near its point; names never overlap one another.
function placeNames(parent, named, obstacles, frame, label) {
  const placed = [], hit = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  for (const p of named) {
    const text = put(parent, "text", { class: "name" + (p.words ? " soft" : p.status === "front" ? " front" : "") }, label(p));
    const w = text.getBBox().width + 4, h = 17;
    let best = null;
    for (const reach of [13, 26, 40, 56, 80]) for (let step = 0; step <= 16; step++) for (const side of [1, -1]) {
      const dy = (step % 2 ? -1 : 1) * Math.ceil(step / 2) * 9, price = Math.ceil(step / 2) + (side < 0 ? 0.4 : 0) + (reach - 13) / 26;
      if (best && price >= best.price) continue;
      const left = side > 0 ? p.x + reach : p.x - reach - w, box = [left, p.y + dy - h / 2, left + w, p.y + dy + h / 2];
      if (box[0] < frame[0] || box[1] < frame[1] || box[2] > frame[2] || box[3] > frame[3] || placed.some((q) => hit(q, box))) continue;
      const full = price + obstacles.reduce((sum, o) => sum + (hit(o, box) ? o[4] : 0), 0);
      if (!best || full < best.price) best = { price: full, box, side };
    }
    if (!best) { text.remove(); continue; }
    placed.push(best.box);
    const y = (best.box[1] + best.box[3]) / 2, edge = best.side > 0 ? best.box[0] : best.box[2];
    text.setAttribute("x", best.box[0] + 2); text.setAttribute("y", y + 4);
    if (Math.abs(edge - p.x) + Math.abs(y - p.y) > 20)
      parent.insertBefore(put(parent, "line", { x1: p.x, y1: p.y, x2: edge, y2: y, stroke: "#888", "stroke-width": 0.8 }), text);
  }
}
