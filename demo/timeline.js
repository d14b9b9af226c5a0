"use strict";
// The probability of a fake over time: one line a face, zones behind, a playhead. Click or keys move the video.

const SVG = "http://www.w3.org/2000/svg";
const DASHES = ["", "7 4", "2 4", "10 3 2 3"];
const PAD = { left: 46, right: 12, top: 8, bottom: 20 };

function svgNode(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

class Timeline {
  constructor(svg, reading, video, limits) {
    Object.assign(this, { svg, reading, video, limits, faces: [], duration: 1, selected: null });
    new ResizeObserver(() => this.draw()).observe(svg);
    video.addEventListener("timeupdate", () => this.move());
    video.addEventListener("seeking", () => this.move());
    const jump = (event) => {
      const box = svg.getBoundingClientRect();
      const share = (event.clientX - box.left - PAD.left) / (box.width - PAD.left - PAD.right);
      this.seek(share * this.duration);
    };
    svg.addEventListener("pointerdown", (event) => { svg.setPointerCapture(event.pointerId); jump(event); });
    svg.addEventListener("pointermove", (event) => { if (event.buttons) jump(event); });
    svg.addEventListener("keydown", (event) => this.key(event));
  }

  // faces: with scores [{time_s, probability}]; step_s: one frame
  show(faces, duration, step_s) {
    this.faces = faces.filter((face) => face.scores.length);
    this.duration = Math.max(duration, 0.04);
    this.step_s = step_s;
    this.selected = null;
    this.svg.setAttribute("aria-valuemin", 0);
    this.svg.setAttribute("aria-valuemax", this.duration.toFixed(1));
    this.draw();
  }

  select(number) { this.selected = number; this.draw(); }

  seek(time_s) {
    // half a frame in, so that rounding never shows the frame before
    this.video.currentTime = Math.min(Math.max(0, time_s), this.duration - this.step_s / 2);
    this.move();
  }

  key(event) {
    const now = this.video.currentTime;
    const to = { ArrowLeft: now - 0.2, ArrowDown: now - 0.2, ArrowRight: now + 0.2, ArrowUp: now + 0.2,
                 PageDown: now - 5, PageUp: now + 5, Home: 0, End: this.duration }[event.key];
    if (to !== undefined) this.seek(to);
    else if (event.key === " ") this.video.paused ? this.video.play() : this.video.pause();
    else return;
    event.preventDefault();
  }

  x(time_s) { return PAD.left + (this.width - PAD.left - PAD.right) * time_s / this.duration; }
  y(probability) { return PAD.top + (this.height - PAD.top - PAD.bottom) * (1 - probability); }

  draw() {
    this.width = this.svg.clientWidth;
    this.height = this.svg.clientHeight;
    if (!this.width || !this.faces.length) return;
    const { authentic_below: low, deepfake_above: high, colours } = this.limits;
    const parts = [];
    const zone = (from, to, colour) => parts.push(svgNode("rect", {
      x: PAD.left, y: this.y(to), width: this.width - PAD.left - PAD.right, height: this.y(from) - this.y(to), fill: colour, opacity: 0.16 }));
    zone(high, 1, colours.deepfake);
    zone(low, high, colours.uncertain);
    zone(0, low, colours.authentic);
    for (const value of [0, 0.5, 1]) parts.push(svgNode("text", { x: PAD.left - 6, y: this.y(value) + 4, "text-anchor": "end" }, `${100 * value} %`));
    const step = [0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200].find((s) => this.x(s) - PAD.left > 64) || 3600;
    for (let time_s = 0; time_s <= this.duration; time_s += step) {
      const text = step < 1 ? `${time_s.toFixed(1)} s` : this.duration < 60 ? `${time_s} s` : clock(time_s);
      if (this.width - this.x(time_s) > 18) parts.push(svgNode("text", { x: this.x(time_s), y: this.height - 5, "text-anchor": "middle" }, text));
    }
    this.faces.forEach((face, at) => {
      const faint = this.selected !== null && this.selected !== face.face;
      for (const piece of pieces(face.scores)) {
        const points = piece.map((one) => `${this.x(one.time_s).toFixed(1)},${this.y(one.probability).toFixed(1)}`).join(" ");
        const look = { fill: "none", stroke: "currentColor", "stroke-width": faint ? 1 : 2, opacity: faint ? 0.3 : 0.9,
                       "stroke-linejoin": "round", "stroke-linecap": "round", "stroke-dasharray": DASHES[at % DASHES.length] };
        if (piece.length > 1) parts.push(svgNode("polyline", { points, ...look }));
        else parts.push(svgNode("circle", { cx: this.x(piece[0].time_s), cy: this.y(piece[0].probability), r: 2.5, fill: "currentColor" }));
      }
    });
    this.playhead = svgNode("line", { y1: PAD.top, y2: this.height - PAD.bottom, stroke: "var(--accent)", "stroke-width": 2 });
    parts.push(this.playhead);
    this.svg.replaceChildren(...parts);
    this.move();
  }

  move() {
    if (!this.playhead) return;
    const time_s = this.video.currentTime;
    const at = this.x(Math.min(time_s, this.duration));
    this.playhead.setAttribute("x1", at);
    this.playhead.setAttribute("x2", at);
    const said = this.faces.map((face) => [face, near(face.scores, time_s)]).filter(([, score]) => score)
      .map(([face, score]) => `${this.faces.length > 1 ? `face ${face.face}: ` : ""}${Math.round(100 * score.probability)} % fake`);
    const text = `${time_s.toFixed(1)} s \u00b7 ${said.length ? said.slice(0, 3).join(", ") : "no face scored here"}`;
    this.reading.textContent = text;
    this.svg.setAttribute("aria-valuenow", time_s.toFixed(1));
    this.svg.setAttribute("aria-valuetext", text);
  }
}

// A line breaks where a face is out of sight.
function pieces(scores) {
  const found = [[scores[0]]];
  for (const score of scores.slice(1)) {
    const last = found[found.length - 1];
    if (score.time_s - last[last.length - 1].time_s > 1.5) found.push([score]);
    else last.push(score);
  }
  return found;
}

function near(scores, time_s) {
  let best = null;
  for (const score of scores) if (!best || Math.abs(score.time_s - time_s) < Math.abs(best.time_s - time_s)) best = score;
  return best && Math.abs(best.time_s - time_s) < 1 ? best : null;
}
