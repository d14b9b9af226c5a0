"use strict";

const $ = (id) => document.getElementById(id);
const SIGNS = { authentic: "\u2713", deepfake: "!", uncertain: "?", "no face": "\u2013", "too small": "\u2013" };
const FIRST_FACES = 12;
const job = { key: null, request: null, events: null, leaving: false };
let state = null, timeline = null, camera = null;

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function view(name) {
  for (const id of ["none", "start", "work", "result", "camera"]) $(id).hidden = id !== name;
  const title = { work: "work-title", result: "verdict", camera: "camera-title" }[name];
  if (title) $(title).focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function fail(text) {
  $("alert").firstElementChild.textContent = sentence(text);
  $("alert").hidden = false;
  home();
}

function home() {
  forget();
  if (camera) camera.stop();
  if (!state) return;
  view(state.models.length ? "start" : "none");
  document.title = "Who is fake? Deepfake detection in videos";
}

function forget() {
  if (job.request) job.request.abort();
  if (job.events) job.events.close();
  if (job.key) fetch(`/api/jobs/${job.key}`, { method: "DELETE" }).catch(() => {});
  Object.assign(job, { key: null, request: null, events: null });
  sessionStorage.removeItem("job");
  $("video").removeAttribute("src");
  $("video").load();
}

// ---- the first view

async function load() {
  try {
    state = await (await fetch("/api/state")).json();
  } catch {
    $("alert").firstElementChild.textContent = "The demo does not answer: is it still running?";
    $("alert").hidden = false;
    return;
  }
  $("train").textContent = state.train;
  $("why").textContent = state.why_no_runs ? sentence(state.why_no_runs) + "." : "";
  $("limits").textContent = `Up to ${state.max_minutes} minutes and ${state.max_mb} MB. It stays on this machine.`;
  listModels();
  listExamples();
  timeline = new Timeline($("timeline"), $("reading"), $("video"), state);
  camera = new Camera($("live"), $("boxes"), $("live-text"), state.colours, fail);
  const known = sessionStorage.getItem("job");
  if (known) follow(known);
  else home();
}

function listModels() {
  const groups = new Map();
  for (const model of state.models) {
    if (!groups.has(model.group)) groups.set(model.group, el("optgroup", { label: model.group }));
    groups.get(model.group).append(el("option", { value: model.key }, `${model.name} \u2013 ${model.detail}`));
  }
  $("model").replaceChildren(...groups.values());
  const warn = () => {
    const chosen = state.models.find((model) => model.key === $("model").value);
    $("model-note").hidden = !(chosen && chosen.smoke);
    $("model-note").textContent = "This model comes from a smoke run: trained for a step or two, its verdicts mean nothing.";
  };
  $("model").addEventListener("change", warn);
  warn();
}

function listExamples() {
  const cards = state.examples.map((example) => el("button", { type: "button", onclick: () => tryExample(example) },
    el("img", { src: `/api/examples/${example.key}/poster.jpg`, alt: "", loading: "lazy" }), el("span", {}, example.name)));
  if (Camera.possible()) {
    const lens = el("div", { class: "lens", "aria-hidden": "true" });
    lens.innerHTML = '<svg viewBox="0 0 48 48"><rect x="5" y="13" width="28" height="22" rx="4"/><path d="m33 21 10-6v18l-10-6z"/></svg>';
    cards.push(el("button", { type: "button", id: "webcam", onclick: openCamera }, lens, el("span", {}, "your webcam, live")));
  }
  $("examples").replaceChildren(...cards);
  $("or").hidden = !cards.length;
}

// ---- a video on its way

function working(name, text) {
  $("alert").hidden = true;
  document.querySelector("[data-name]").textContent = name;
  view("work");
  progress("Sending", null, text);
}

function progress(title, share, text) {
  if ($("work-title").textContent !== title) $("work-title").textContent = title;
  $("bar").classList.toggle("unknown", share === null);
  $("bar").firstElementChild.style.width = share === null ? "" : `${100 * share}%`;
  if (share === null) $("bar").removeAttribute("aria-valuenow");
  else $("bar").setAttribute("aria-valuenow", Math.round(100 * share));
  if ($("work-text").textContent !== text) $("work-text").textContent = text;
}

function send(file) {
  if (!file) return;
  if (file.size > 1e6 * state.max_mb) {
    fail(`An upload may have at most ${state.max_mb} MB, but ${file.name} has ${Math.ceil(file.size / 1e6)}; choose a shorter piece.`);
    return;
  }
  forget();
  working(file.name, "");
  // XMLHttpRequest, because fetch does not tell how much of a file was sent.
  const request = job.request = new XMLHttpRequest();
  request.open("POST", `/api/jobs?name=${encodeURIComponent(file.name)}&model=${encodeURIComponent($("model").value)}`);
  request.responseType = "json";
  request.upload.onprogress = (event) => {
    if (event.lengthComputable) progress("Sending", event.loaded / event.total, `${(event.loaded / 1e6).toFixed(1)} of ${(event.total / 1e6).toFixed(1)} MB`);
  };
  request.onload = () => { job.request = null; accepted(request.status, request.response); };
  request.onerror = () => { job.request = null; fail("The file could not be sent: is the demo still running?"); };
  request.send(file);
}

async function tryExample(example) {
  forget();
  working(example.name, "");
  progress("Preparing", null, "");
  try {
    const answer = await fetch(`/api/examples/${example.key}?model=${encodeURIComponent($("model").value)}`, { method: "POST" });
    accepted(answer.status, await answer.json());
  } catch {
    fail("The demo does not answer: is it still running?");
  }
}

function accepted(status, answer) {
  if (status !== 200) fail((answer && answer.error) || `the demo answers with ${status}`);
  else follow(answer.key);
}

function follow(key) {
  job.key = key;
  sessionStorage.setItem("job", key);
  if ($("work").hidden) working("", "");
  const events = job.events = new EventSource(`/api/jobs/${key}/events`);
  events.onmessage = (event) => tell(JSON.parse(event.data));
  events.onerror = () => {
    if (events.readyState !== EventSource.CLOSED || job.events !== events) return; // it tries again by itself
    job.key = null;
    if ($("result").hidden) fail("the result is not here any more: it is removed when its page is closed; start again");
  };
}

function tell(now) {
  document.querySelector("[data-name]").textContent = now.name;
  if (now.state === "queued") progress(`Queued, number ${now.position}`, null, now.position > 1 ? "Another video is being marked; this one follows." : "");
  if (now.state === "working") {
    const known = now.share !== undefined && now.share !== null;
    progress("Marking the faces", known ? now.share : null,
      now.frames === undefined ? "Opening video and model" : `${now.frames} frames, ${now.fps} a second${known ? `, ${Math.round(100 * now.share)} %` : ""}`);
  }
  if (now.state === "failed") fail(now.error);
  if (now.state === "done" && $("result").hidden) showResult(now.result);
}

// ---- the result

function percent(verdict, probability) {
  if (probability === null) return "";
  if (verdict === "uncertain") return ` \u00b7 ${Math.round(100 * probability)} % fake`;
  return ` ${Math.round(100 * (verdict === "deepfake" ? probability : 1 - probability))} %`;
}

function tone(verdict) { return verdict.replace(" ", "-"); }

function count(number, word) { return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`; }

function showResult(result) {
  const { verdict } = result;
  $("banner").className = `card verdict ${tone(verdict.verdict)}`;
  $("banner").firstElementChild.dataset.sign = SIGNS[verdict.verdict];
  $("verdict").textContent = sentence(verdict.verdict) + percent(verdict.verdict, verdict.probability);
  $("because").textContent = sentence(verdict.reason) + ".";
  const calibrated = result.calibration.fitted ? `calibrated on ${count(result.calibration.num_crops, "validation crop")}`
    : "not calibrated: take the percentage as a rank, not as a chance";
  $("basis").textContent = verdict.probability === null ? `${count(result.frames_detected, "frame")} searched.`
    : `Mean over ${count(verdict.frames_scored, "scored frame")}; ${calibrated}.`;
  const notes = [...result.model.notes, ...result.notes];
  $("notes").replaceChildren(...notes.map((note) => el("li", {}, sentence(note))));
  $("notes").hidden = !notes.length;
  const video = $("video");
  video.src = `/api/jobs/${job.key}/video.mp4`;
  $("save-video").href = `/api/jobs/${job.key}/video.mp4?download=1`;
  $("save-json").href = `/api/jobs/${job.key}/record.json?download=1`;
  const { width, height, frames, fps, duration_s: duration } = result.video;
  $("foot").textContent = `${result.file}: ${width} \u00d7 ${height}, ${count(frames, "frame")}, ${duration.toFixed(1)} s, ${result.sound}. ` +
    `${result.model.name} (${result.model.detail}) took ${result.seconds} s, ${Math.round(frames / Math.max(result.seconds, 0.01))} frames a second.`;
  document.title = `${sentence(verdict.verdict)}: ${result.file}`;
  showFaces(result.faces);
  view("result");
  $("strip").hidden = !result.faces.some((face) => face.scores.length);
  timeline.show(result.faces.slice().sort(mostScored).slice(0, 8), duration, 1 / fps);
}

function mostScored(a, b) { return b.frames_scored - a.frames_scored || a.face - b.face; }

function showFaces(faces) {
  $("faces-part").hidden = !faces.length;
  $("faces-title").textContent = faces.length === 1 ? "The face" : `${faces.length} faces`;
  const sorted = faces.slice().sort(mostScored);
  const cards = sorted.map((face) => {
    const picture = face.frames_scored ? el("img", { src: `/api/jobs/${job.key}/faces/${face.face}.jpg`, alt: `Face ${face.face}`, width: 76, height: 76 })
      : el("div", { class: "blank", "aria-hidden": "true" });
    const basis = face.frames_scored ? `mean over ${count(face.frames_scored, "frame")}` : "too few pixels to judge";
    return el("li", { class: tone(face.verdict) }, el("button", { type: "button", onclick: () => showFace(face, faces.length) }, picture,
      el("div", {}, el("b", {}, sentence(face.verdict) + percent(face.verdict, face.probability)),
        el("small", {}, `Face ${face.face}, ${basis}`), el("small", {}, `${face.first_s.toFixed(1)} to ${face.last_s.toFixed(1)} s`))));
  });
  const rest = cards.slice(FIRST_FACES);
  $("faces").replaceChildren(...cards.slice(0, FIRST_FACES));
  $("more").hidden = !rest.length;
  $("more").textContent = `Show ${rest.length} more`;
  $("more").onclick = () => { $("faces").append(...rest); $("more").hidden = true; };
}

function showFace(face, of) {
  timeline.select(of > 1 ? face.face : null);
  timeline.seek(face.first_s);
  $("video").scrollIntoView({ block: "nearest" });
}

// ---- the camera

async function openCamera() {
  $("alert").hidden = true;
  forget();
  view("camera");
  try {
    await camera.start($("model").value);
  } catch (error) {
    fail(error.name === "NotAllowedError" ? "the browser gives no camera: allow it for this page" : `there is no camera to be had (${error.message})`);
  }
}

// ---- what the user does

$("file").addEventListener("change", (event) => { send(event.target.files[0]); event.target.value = ""; });
$("cancel").addEventListener("click", home);
$("again").addEventListener("click", home);
$("camera-off").addEventListener("click", home);
$("alert").lastElementChild.addEventListener("click", () => { $("alert").hidden = true; });
for (const kind of ["dragenter", "dragover"]) {
  window.addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
window.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
window.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (!$("start").hidden) send(event.dataTransfer.files[0]);
});
load();
