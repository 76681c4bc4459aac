// The page of the studio: shows what the app sends, and sends what the user does.

import { FaceModel } from "./adapt.js";
import { Call } from "./call.js";
import { chooseLanguage, keyWord, languageNow, word } from "./words.js";

const RETRY_MS = 700;
const FULL_RETRY_MS = 3000;
const REFUSED = 1008;
const FULL = 1013;
const OVER = 1000; // the service ended the call: it is for the user to come again
const MAX_WAITING = 1 << 20; // bytes of a photo that wait to be sent
const HEADER = 16; // bytes before the pictures
const DELAYS = 45; // so many newest pictures say how late they are
const SLIDERS = ["mouth", "eyes", "brows", "gaze", "head", "strength", "smoothing", "zoom"];
const SWITCHES = ["lock_gaze", "mirror_output", "search"];
const REGIONS = { all: "all", expression: "expression", head: "onlyHead", mouth: "onlyMouth", eyes: "onlyEyes" };

const at = (id) => document.getElementById(id);
const state = { phase: "idle", photos: [], cameras: [], values: {}, ranges: {}, keys: [] };
let socket = null;
let isConnected = false;
let isRefused = false;
let isLost = false;
let isFull = false;
let isOver = false;
let call = null; // where another machine computes
let photoError = "";
const faceModel = new FaceModel(ask);
const delays = [];

// The key is in the address once; after that it lives in this tab alone.
const given = location.hash.slice(1);
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname);
}
const token = sessionStorage.getItem("token") ?? "";

function kept(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

function keep(name, value) {
  try { localStorage.setItem(name, value); } catch { /* then it is chosen again */ }
}

function ask(request) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(request));
}

// --- the connection ---

function connect() {
  isOver = false;
  const address = new URL("talk", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    socket.send(JSON.stringify({ token }));
  };
  socket.onmessage = (event) => {
    const isNew = !isConnected;
    isConnected = true;
    isLost = isFull = false;
    if (typeof event.data === "string") {
      const news = JSON.parse(event.data);
      Object.assign(state, news);
      hear(news, isNew);
      render();
    } else {
      show(event.data);
    }
  };
  socket.onclose = (event) => {
    isConnected = false;
    isLost = true;
    isRefused = event.code === REFUSED;
    isFull = event.code === FULL;
    isOver = event.code === OVER && Boolean(call);
    if (isOver) call.stop();
    call?.lose();
    render();
    if (!isRefused && !isOver) setTimeout(connect, isFull ? FULL_RETRY_MS : RETRY_MS);
  };
}

// --- a call, where another machine computes ---

function hear(news, isNew) {
  if (state.mode !== "call") return;
  if (!call) {
    call = new Call({
      ask, sendBytes, driver: at("driver"), sent: at("sent"), changed: render,
      shown: (lateMs) => {
        if (lateMs !== null) noteDelay(lateMs);
        document.body.dataset.shown = String(Number(document.body.dataset.shown ?? 0) + 1);
        at("no-driver").textContent = at("no-sent").textContent = "";
      },
    });
    document.body.dataset.mode = "call";
  }
  call.maxBytes = state.max_photo_bytes ?? Infinity;
  call.hear(news);
  if (isNew) call.resume(JSON.parse(kept("values") ?? "{}"));
  if (news.values && call.isWanted) keep("values", JSON.stringify(news.values));
}

async function sendBytes(bytes) {
  while (socket.bufferedAmount > MAX_WAITING) await new Promise((done) => setTimeout(done, 20));
  if (socket.readyState === WebSocket.OPEN) socket.send(bytes);
}

function noteDelay(lateMs) {
  delays.push(lateMs);
  if (delays.length > DELAYS) delays.shift();
}

async function show(data) {
  const header = new DataView(data);
  const number = header.getUint32(0, true);
  const length = header.getUint32(4, true);
  const parts = [[faceModel.canvas ?? at("driver"), data.slice(HEADER, HEADER + length)], [at("sent"), data.slice(HEADER + length)]];
  await Promise.all(parts.map(async ([canvas, bytes]) => {
    canvas.dataset.empty = String(bytes.byteLength === 0);
    if (!bytes.byteLength) {
      if (state.phase !== "running") canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      return;
    }
    const picture = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      canvas.width = picture.width;
      canvas.height = picture.height;
    }
    canvas.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
  }));
  ask({ shown: number });
  if (state.phase === "running") noteDelay(Date.now() - header.getFloat64(8, true));
  document.body.dataset.shown = String(number);
  at("no-driver").textContent = parts[0][1].byteLength ? "" : word("noDriver");
  at("no-sent").textContent = parts[1][1].byteLength || state.phase === "running" ? "" : word("noSent");
}

// --- what is shown ---

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function render() {
  for (const element of document.querySelectorAll("[data-text]")) setText(element, word(element.dataset.text));
  setText(at("language"), word("language"));
  at("driver").setAttribute("aria-label", word("driverLabel"));
  at("sent").setAttribute("aria-label", word("sentLabel"));
  const isRunning = state.phase === "running" && (!call || call.isWanted);
  if (!isRunning) delays.length = 0;
  const isBusy = call ? call.isStarting : state.phase === "starting";
  setText(at("status"), isConnected ? word(isBusy ? "starting" : call && !isRunning ? "idle" : state.phase) : "…");
  at("status").dataset.kind = isRunning ? "good" : state.phase === "failed" ? "bad" : "quiet";
  const trouble = isRefused ? word("refused") : isFull ? word("full") : isOver ? word("over")
    : isLost ? word(call ? "callLost" : "offline")
    : call?.trouble ? word(call.trouble) : state.error || state.camera_trouble || "";
  setText(at("trouble"), trouble);
  at("trouble").hidden = !trouble;
  setText(at("go"), word(isBusy ? "starting" : isRunning ? "stop" : "start"));
  at("go").disabled = isOver ? false : !isConnected || isBusy || faceModel.isRecording || (!isRunning && !state.photos.length);
  for (const id of ["panic", "passthrough", "neutral", "record"]) at(id).disabled = !isRunning;
  at("panic").setAttribute("aria-pressed", String(Boolean(isRunning && state.panicking)));
  at("passthrough").setAttribute("aria-pressed", String(Boolean(isRunning && state.passes)));
  const isRecording = call ? Boolean(call.recorder) : Boolean(state.recording);
  at("record").setAttribute("aria-pressed", String(isRunning && isRecording));
  setText(at("record-text"), word(isRecording ? "recording" : "record"));
  const face = !isRunning ? "" : word(state.is_dark ? "dark" : !state.has_face ? "noFace" : state.is_limited ? "limited" : "found");
  setText(at("face"), face);
  setText(at("mode"), !isRunning ? "" : state.panicking ? word("hidden") : state.passes ? word("passing") : "");
  if (!document.body.dataset.shown) {
    setText(at("no-driver"), word("noDriver"));
    setText(at("no-sent"), word(state.photos.length ? "noSent" : "noPhoto"));
  }
  renderNumbers(isRunning);
  renderPhotos();
  renderCameras();
  renderVirtual(isRunning);
  renderControls();
  renderKeys();
  faceModel.render(state);
  const asksConsent = state.notice && !(call && kept("agreed"));
  setText(at("consent-mark"), word(call ? "consentAway" : "consentMark", { host: location.host }));
  if (asksConsent && !at("consent").open) at("consent").showModal();
  if (!asksConsent && at("consent").open) at("consent").close();
}

function renderNumbers(isRunning) {
  const stats = isRunning ? state.stats ?? {} : {};
  setText(at("fps"), stats.fps === undefined ? "–" : stats.fps.toFixed(0));
  const late = [...delays].sort((a, b) => a - b);
  setText(at("latency"), stats.latency_ms === undefined || !late.length ? "–"
    : `${late[late.length >> 1].toFixed(0)} ms`);
  at("latency").dataset.ms = JSON.stringify({ loop: stats.latency_ms, page: late });
  setText(at("dropped"), stats.dropped === undefined ? "–" : String(stats.dropped));
  setText(at("engine"), stats.engine ?? "–");
}

function renderPhotos() {
  const list = at("photos");
  const wanted = JSON.stringify([state.photos.map((photo) => photo.file), languageNow()]);
  if (list.dataset.shown !== wanted) {
    list.dataset.shown = wanted;
    list.replaceChildren(...state.photos.map(thumbnail));
  }
  for (const button of list.querySelectorAll("button.photo")) {
    button.setAttribute("aria-pressed", String(button.dataset.file === state.photo));
  }
  const error = photoError || state.photo_error || "";
  setText(at("photo-error"), error);
  at("photo-error").hidden = !error;
}

function thumbnail(photo, index) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "photo";
  button.dataset.file = photo.file;
  button.setAttribute("aria-label", `${word("take")}: ${photo.name} (${index + 1})`);
  button.onclick = () => ask({ choose: photo.file });
  const picture = document.createElement("img");
  picture.src = photo.thumbnail;
  picture.alt = "";
  button.append(picture);
  const away = document.createElement("button");
  away.type = "button";
  away.className = "away";
  away.textContent = "×";
  away.setAttribute("aria-label", `${word("away")}: ${photo.name}`);
  away.onclick = () => {
    call?.forget(photo.file);
    ask({ remove: photo.file });
  };
  item.append(button, away);
  return item;
}

function renderCameras() {
  const select = at("camera");
  const cameras = call ? call.cameras : state.cameras;
  const wanted = JSON.stringify([cameras, languageNow()]);
  if (select.dataset.shown !== wanted) {
    select.dataset.shown = wanted;
    select.replaceChildren(...cameras.map((camera) => {
      const option = document.createElement("option");
      option.value = camera.id;
      option.textContent = camera.word ? word(camera.word, { number: camera.number }) : camera.name;
      return option;
    }));
  }
  if (document.activeElement !== select) select.value = (call ? call.camera : state.camera) ?? "";
}

function renderVirtual(isRunning) {
  const saved = call ? call.saved : state.saved;
  setText(at("saved"), saved ? word("saved", { path: saved }) : "");
  at("saved").hidden = !saved;
  if (call) {
    setText(at("virtual"), word("callOutput"));
    setText(at("virtual-help"), word("callOutputHelp", { address: location.origin }));
    return;
  }
  const virtual = state.virtual ?? {};
  const isOn = isRunning && Boolean(virtual.device);
  setText(at("virtual"), word(isOn ? "virtualOn" : isRunning ? "virtualOff" : "virtualIdle", { name: virtual.device }));
  at("virtual").dataset.kind = isOn ? "good" : isRunning ? "warn" : "quiet";
  const help = { linux: "helpLinux", win32: "helpWindows", darwin: "helpMac" }[state.system];
  setText(at("virtual-help"), isRunning && !isOn && help ? word(help) : "");
}

function renderControls() {
  const wanted = JSON.stringify([state.ranges, languageNow()]);
  const sliders = at("sliders");
  if (sliders.dataset.shown !== wanted && Object.keys(state.ranges).length) {
    sliders.dataset.shown = wanted;
    sliders.replaceChildren(...SLIDERS.filter((name) => name in state.ranges).map(slider));
    at("switches").replaceChildren(...SWITCHES.map(checkbox), regionChoice());
  }
  for (const input of sliders.querySelectorAll("input")) {
    const value = state.values[input.name];
    if (value === undefined || document.activeElement === input && input.dataset.held) continue;
    input.value = String(value);
    setText(input.nextElementSibling, `${Math.round(100 * value)} %`);
  }
  for (const input of at("switches").querySelectorAll("input")) input.checked = Boolean(state.values[input.name]);
  const region = at("switches").querySelector("select");
  if (region && document.activeElement !== region) region.value = state.values.region ?? "all";
}

function slider(name) {
  const [low, high] = state.ranges[name];
  const label = document.createElement("label");
  label.className = "slider";
  const text = document.createElement("span");
  text.textContent = word(name);
  const input = Object.assign(document.createElement("input"), { type: "range", name, min: low, max: high, step: 0.05 });
  const output = document.createElement("output");
  input.oninput = () => {
    output.textContent = `${Math.round(100 * input.value)} %`;
    ask({ set: { [name]: Number(input.value) } });
  };
  input.onpointerdown = () => { input.dataset.held = "1"; };
  input.onpointerup = () => { delete input.dataset.held; };
  label.append(text, input, output);
  return label;
}

function checkbox(name) {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "checkbox", name });
  input.onchange = () => ask({ set: { [name]: input.checked } });
  label.append(input, word(name));
  return label;
}

function regionChoice() {
  const label = document.createElement("label");
  const select = document.createElement("select");
  select.name = "region";
  select.replaceChildren(...Object.entries(REGIONS).map(([value, name]) =>
    Object.assign(document.createElement("option"), { value, textContent: word(name) })));
  select.onchange = () => ask({ set: { region: select.value } });
  label.append(word("region"), select);
  return label;
}

function renderKeys() {
  const list = at("key-list");
  const wanted = JSON.stringify([state.keys, languageNow()]);
  if (list.dataset.shown === wanted) return;
  list.dataset.shown = wanted;
  list.replaceChildren(...state.keys.map(({ keys, help }) => {
    const line = document.createElement("div");
    const names = document.createElement("dt");
    names.append(...keys.map((key) => Object.assign(document.createElement("kbd"), { textContent: key })));
    line.append(names, Object.assign(document.createElement("dd"), { textContent: keyWord(help) }));
    return line;
  }));
}

// --- what the user does ---

async function addPhotos(files) {
  photoError = "";
  for (const file of files) {
    if (call) {
      call.upload(file);
      continue;
    }
    try {
      const answer = await fetch("/photos", {
        method: "POST", body: file,
        headers: { Authorization: `Bearer ${token}`, "X-Name": encodeURIComponent(file.name) },
      });
      if (!answer.ok) photoError = (await answer.json()).error;
    } catch {
      photoError = word("offline");
    }
  }
  render();
}

at("go").onclick = () => {
  if (!call) ask(state.phase === "running" ? { stop: true } : { start: true });
  else if (isOver) {
    call.isWanted = true;
    connect();
  } else if (call.isWanted) call.stop();
  else call.start();
};
at("panic").onclick = () => ask({ press: "panic" });
at("passthrough").onclick = () => ask({ press: "passthrough" });
at("neutral").onclick = () => ask({ press: "recalibrate" });
at("record").onclick = () => {
  if (!call) ask({ record: !state.recording });
  else if (call.recorder) call.stopRecording();
  else call.record();
};
at("reset").onclick = () => ask({ press: "reset settings" });
at("quit").onclick = () => ask({ quit: true });
at("agree").onclick = () => {
  if (call) {
    keep("agreed", "1");
    state.notice = false;
    render();
  } else ask({ agree: true });
};
at("consent").oncancel = (event) => event.preventDefault();
at("camera").onchange = (event) => call ? call.chooseCamera(event.target.value) : ask({ camera: event.target.value });
at("file").onchange = (event) => { addPhotos([...event.target.files]); event.target.value = ""; };
at("drop").onkeydown = (event) => { if (event.key === "Enter" || event.key === " ") at("file").click(); };

at("language").onclick = () => {
  chooseLanguage(languageNow() === "de" ? "en" : "de");
  keep("language", languageNow());
  render();
};
at("theme").onclick = () => {
  chooseTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  keep("theme", document.documentElement.dataset.theme);
};

function chooseTheme(name) {
  document.documentElement.dataset.theme = name;
  document.documentElement.style.colorScheme = name;
}

for (const kind of ["dragenter", "dragover"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.remove("over");
  });
}
addEventListener("drop", (event) => addPhotos([...event.dataTransfer.files]));

addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, select, textarea, dialog");
  const isPressed = event.target.closest?.("button, summary, label") && (event.key === "Enter" || event.key === " ");
  if (isTyping || isPressed || event.ctrlKey || event.metaKey || event.altKey || event.key.length !== 1) return;
  if (event.key === "?" || event.key === "/") {
    document.querySelector("details.keys").toggleAttribute("open");
    event.preventDefault();
    return;
  }
  ask({ key: event.key });
});

chooseLanguage(kept("language") ?? (navigator.language.startsWith("de") ? "de" : "en"));
chooseTheme(kept("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
render();
connect();
