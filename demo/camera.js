"use strict";
// The webcam as a live source: one picture at a time goes to the server, boxes come back.

class Camera {
  constructor(video, canvas, text, colours, fail) {
    Object.assign(this, { video, canvas, text, colours, fail, stream: null });
  }

  static possible() { return Boolean(navigator.mediaDevices && navigator.mediaDevices.getUserMedia); }

  async start(model) {
    this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } }, audio: false });
    this.video.srcObject = this.stream;
    await this.video.play();
    const session = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    this.text.textContent = "Looking for a face \u2026";
    this.loop(this.stream, `/api/live?session=${session}&model=${encodeURIComponent(model)}`);
  }

  stop() {
    if (this.stream) for (const track of this.stream.getTracks()) track.stop();
    this.stream = null;
    this.video.srcObject = null;
  }

  async loop(stream, address) {
    const copy = document.createElement("canvas");
    while (this.stream === stream) {
      const began = performance.now();
      const [width, height] = [this.video.videoWidth, this.video.videoHeight];
      if (width) {
        const scale = Math.min(1, 640 / Math.max(width, height));
        copy.width = Math.round(width * scale);
        copy.height = Math.round(height * scale);
        copy.getContext("2d").drawImage(this.video, 0, 0, copy.width, copy.height);
        try {
          const body = await new Promise((done) => copy.toBlob(done, "image/jpeg", 0.9));
          const answer = await fetch(address, { method: "POST", body });
          const values = await answer.json();
          if (!answer.ok) throw new Error(values.error);
          if (this.stream === stream) this.draw(values);
        } catch (error) {
          if (this.stream === stream) this.fail(error.message);
          return;
        }
      }
      await new Promise((done) => setTimeout(done, Math.max(0, 80 - (performance.now() - began))));
    }
  }

  draw({ marks, verdict }) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = box.width * ratio;
    this.canvas.height = box.height * ratio;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    for (const mark of marks) {
      const [left, top, width, height] = mark.box;
      const x = (1 - left - width) * box.width; // mirrored, as people see themselves
      const [y, w, h] = [top * box.height, width * box.width, height * box.height];
      pen.strokeStyle = pen.fillStyle = this.colours[mark.verdict];
      pen.lineWidth = 4;
      pen.beginPath();
      pen.roundRect(x, y, w, h, 8);
      pen.stroke();
      pen.font = "600 15px system-ui, sans-serif";
      const label = pen.measureText(mark.label).width + 16;
      const at = y > 30 ? y - 30 : y + h + 4;
      pen.beginPath();
      pen.roundRect(x - 2, at, label, 26, 6);
      pen.fill();
      pen.fillStyle = "#fff";
      pen.fillText(mark.label, x + 6, at + 18);
    }
    this.text.textContent = verdict.probability === null ? sentence(verdict.reason)
      : `So far: ${verdict.verdict}, ${Math.round(100 * verdict.probability)} % fake on ${verdict.frames_scored} pictures`;
  }
}

function sentence(text) { return text.charAt(0).toUpperCase() + text.slice(1); }
