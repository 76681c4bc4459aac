// A call with a machine that computes the avatar: the webcam goes up, the avatar comes down.

import { drawStamp, NUMBERS, readStamp, stripOf } from "./stamp.js";

const SIZE = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
const MAX_BITRATE = 1_500_000;
const PIECE = 32_768;
const MAX_PX = 960; // larger pictures of a webcam are shrunk: the face is seen well enough
const GATHER_MS = 2000;
const LOST_MS = 1500;
const REMEMBERED = 512;

export class Call {
  // ask: sends a request. canvases: driver and sent. changed: something is to be shown again. shown: a picture was
  // drawn, so many milliseconds old, or null.
  constructor({ ask, sendBytes, driver, sent, changed, shown }) {
    Object.assign(this, { ask, sendBytes, driver, sent, changed, shown });
    this.cameras = [];
    this.camera = "";
    this.isWanted = false;
    this.isStarting = false;
    this.trouble = "";
    this.recorder = null;
    this.saved = "";
    this.ice = [];
    this.files = new Map(); // what the service calls our photos, to our files
    this.chosen = null;
    this.queue = [];
    this.uploading = null;
    this.numbers = new Map();
    this.count = 0;
    this.webcam = null;
    this.connection = null;
    this.eye = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
    this.mouth = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
    this.up = document.createElement("canvas");
    this.upTrack = null;
    document.addEventListener("visibilitychange", () => this.#chooseTrack());
    navigator.mediaDevices?.addEventListener("devicechange", () => this.listCameras());
    this.listCameras();
  }

  async listCameras() {
    const devices = await navigator.mediaDevices?.enumerateDevices() ?? [];
    this.cameras = devices.filter((each) => each.kind === "videoinput")
      .map((each, place) => ({ id: each.deviceId || String(place), name: each.label, word: each.label ? "" : "webcamNumber", number: place + 1 }));
    if (!this.cameras.some((each) => each.id === this.camera)) this.camera = this.cameras[0]?.id ?? "";
    this.changed();
  }

  async chooseCamera(id) {
    this.camera = id;
    if (this.isWanted) {
      this.#closeWebcam();
      await this.start();
    }
  }

  // What the service says.
  hear(news) {
    if (news.ice) this.ice = news.ice;
    if (news.answer && this.connection) {
      this.connection.setRemoteDescription({ type: "answer", sdp: news.answer }).catch((error) => this.#fail(error));
    }
    if (news.error) this.isStarting = false;
    if (this.uploading && (news.added || news.photo_error)) {
      if (news.added) this.files.set(news.added, this.uploading);
      this.uploading = null;
      this.#uploadNext();
    }
  }

  // The service is there, for the first time or again.
  resume(values) {
    if (Object.keys(values).length) this.ask({ set: values });
    const files = [...this.files.values()];
    this.files.clear();
    this.uploading = null;
    this.queue = [];
    for (const file of files) this.upload(file);
    if (this.isWanted && this.webcam) this.#connect();
    else if (this.isWanted) this.start();
  }

  lose() {
    this.#hangUp();
    this.changed();
  }

  async start() {
    this.isWanted = this.isStarting = true;
    this.trouble = "";
    this.changed();
    try {
      await this.#openWebcam();
      await this.#connect();
    } catch (error) {
      this.#fail(error);
    }
  }

  stop() {
    this.isWanted = this.isStarting = false;
    this.ask({ hang_up: true });
    this.stopRecording();
    this.#hangUp();
    this.#closeWebcam();
    this.changed();
  }

  #fail(error) {
    this.trouble = error.name === "NotAllowedError" ? "cameraRefused"
      : ["NotFoundError", "OverconstrainedError", "NotReadableError"].includes(error.name) ? "cameraMissing" : "noWebRtc";
    this.isWanted = this.isStarting = false;
    this.#hangUp();
    this.#closeWebcam();
    this.changed();
  }

  // --- the webcam ---

  async #openWebcam() {
    if (this.webcam) return;
    const video = { ...SIZE, ...(this.camera.length > 4 ? { deviceId: { ideal: this.camera } } : {}) };
    this.webcam = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    this.eye.srcObject = this.webcam;
    await this.eye.play();
    this.upTrack = this.up.captureStream(0).getVideoTracks()[0];
    const [track] = this.webcam.getVideoTracks();
    track.onended = () => this.#fail(new DOMException("", "NotFoundError"));
    this.listCameras();
    eachPicture(track, this.eye, () => this.upTrack !== null && this.webcam?.getVideoTracks()[0] === track,
      (picture, width, height) => this.#see(picture, width, height));
  }

  #closeWebcam() {
    for (const track of this.webcam?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.webcam = null;
    this.driver.dataset.empty = "true";
  }

  // Send a picture of the webcam with a number, and show it.
  #see(picture, fullWidth, fullHeight) {
    const share = Math.min(MAX_PX / Math.max(fullWidth, fullHeight), 1);
    const [width, height] = [fullWidth, fullHeight].map((length) => 2 * Math.round(share * length / 2));
    const total = height + stripOf(height);
    if (this.up.width !== width || this.up.height !== total) Object.assign(this.up, { width, height: total });
    const context = this.up.getContext("2d", { alpha: false });
    const number = this.count++ % NUMBERS;
    this.numbers.set(number, performance.now());
    this.numbers.delete((number - REMEMBERED + NUMBERS) % NUMBERS);
    context.drawImage(picture, 0, 0, width, height);
    drawStamp(context, width, height, number);
    this.upTrack.requestFrame();
    draw(this.driver, this.up, width, height);
  }

  // A page that nobody sees draws nothing: then the webcam's own pictures go up, without numbers.
  #chooseTrack() {
    const sender = this.connection?.getSenders()[0];
    const track = document.hidden ? this.webcam?.getVideoTracks()[0] : this.upTrack;
    if (sender && track && sender.track !== track) sender.replaceTrack(track);
  }

  // --- the connection ---

  async #connect() {
    this.#hangUp();
    const connection = new RTCPeerConnection({ iceServers: this.ice });
    this.connection = connection;
    const transceiver = connection.addTransceiver(this.upTrack, { direction: "sendrecv" });
    const codecs = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
    const isFirst = (codec) => codec.mimeType === "video/VP8";
    transceiver.setCodecPreferences?.([...codecs.filter(isFirst), ...codecs.filter((codec) => !isFirst(codec))]);
    connection.ontrack = ({ track, receiver }) => {
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      this.mouth.srcObject = new MediaStream([track]);
      this.mouth.play().catch(() => { /* it plays when the page is seen */ });
      eachPicture(track, this.mouth, () => this.connection === connection,
        (picture, width, height) => this.#show(picture, width, height));
    };
    connection.onconnectionstatechange = () => {
      if (this.connection !== connection) return;
      if (connection.connectionState === "connected") this.isStarting = false;
      if (connection.connectionState === "failed") this.#connect();
      if (connection.connectionState === "disconnected") {
        setTimeout(() => this.connection === connection && connection.connectionState === "disconnected" && this.#connect(), LOST_MS);
      }
      this.changed();
    };
    await connection.setLocalDescription(await connection.createOffer());
    await new Promise((done) => {
      const isComplete = () => connection.iceGatheringState === "complete";
      if (isComplete()) done();
      connection.addEventListener("icegatheringstatechange", () => isComplete() && done());
      setTimeout(done, GATHER_MS);
    });
    if (this.connection !== connection) return;
    const parameters = transceiver.sender.getParameters();
    parameters.degradationPreference = "maintain-resolution";
    for (const encoding of parameters.encodings ?? []) encoding.maxBitrate = MAX_BITRATE;
    transceiver.sender.setParameters(parameters).catch(() => { /* then the browser decides */ });
    this.ask({ offer: connection.localDescription.sdp });
  }

  #hangUp() {
    const connection = this.connection;
    this.connection = null;
    connection?.close();
    this.mouth.srcObject = null;
  }

  #show(picture, width, total) {
    const { height, number } = readStamp(picture, width, total);
    draw(this.sent, picture, width, height);
    const sentAt = number === null ? undefined : this.numbers.get(number);
    this.shown(sentAt === undefined ? null : performance.now() - sentAt);
  }

  // --- photos ---

  upload(file) {
    this.queue.push(file);
    if (!this.uploading) this.#uploadNext();
  }

  async #uploadNext() {
    const file = this.queue.shift();
    if (!file) return;
    this.uploading = file;
    this.ask({ photo: { name: file.name, bytes: file.size } });
    if (file.size > this.maxBytes) return; // which the service says
    for (let begin = 0; begin < file.size && this.uploading === file; begin += PIECE) {
      await this.sendBytes(await file.slice(begin, begin + PIECE).arrayBuffer());
    }
  }

  forget(name) {
    this.files.delete(name);
  }

  // --- recording, on this machine ---

  record() {
    const type = ["video/webm;codecs=vp9", "video/webm", "video/mp4"].find((each) => MediaRecorder.isTypeSupported(each));
    const parts = [];
    this.recorder = new MediaRecorder(this.sent.captureStream(30), { mimeType: type });
    this.recorder.ondataavailable = ({ data }) => parts.push(data);
    this.recorder.onstop = () => {
      const link = document.createElement("a");
      const moment = new Date().toISOString().slice(0, 19).replaceAll(":", ".").replace("T", " ");
      this.saved = `avatarify ${moment}.${type.includes("mp4") ? "mp4" : "webm"}`;
      link.href = URL.createObjectURL(new Blob(parts, { type }));
      link.download = this.saved;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      this.recorder = null;
      this.changed();
    };
    this.saved = "";
    this.recorder.start(1000);
    this.changed();
  }

  stopRecording() {
    this.recorder?.stop();
  }
}

// Call back with each picture of a track, as soon as it is there, as long as `goesOn` says so. Browsers that do not hand
// out a track's pictures do so when they show them in a video, which is up to two pictures later.
async function eachPicture(track, video, goesOn, see) {
  if (!("MediaStreamTrackProcessor" in window)) {
    const show = () => {
      if (!goesOn()) return;
      if (video.videoWidth) see(video, video.videoWidth, video.videoHeight);
      video.requestVideoFrameCallback(show);
    };
    video.requestVideoFrameCallback(show);
    return;
  }
  const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 1 }).readable.getReader();
  for (;;) {
    const { done, value: picture } = await reader.read();
    if (done) return;
    const isWanted = goesOn();
    if (isWanted) see(picture, picture.displayWidth, picture.displayHeight);
    picture.close();
    if (!isWanted) {
      reader.cancel();
      return;
    }
  }
}

function draw(canvas, picture, width, height) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.dataset.empty = "false";
  canvas.getContext("2d", { alpha: false }).drawImage(picture, 0, 0, width, height, 0, 0, width, height);
}
