// A model that knows the user's face, on the page of the studio: the dialog before, the guided minute, how far it is,
// what came out, and which models there are. All of it is shown from the state that the app sends.

import { languageNow, word } from "./words.js";

const CLIP = "clip";
const SAME = 0.005; // a smaller change is none
const FOLLOWS = 0.02;

const at = (id) => document.getElementById(id);

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, values = {}, ...children) {
  const element = Object.assign(document.createElement(tag), values);
  element.append(...children);
  return element;
}

function button(name, subject, action, className = "plain") {
  const made = make("button", { type: "button", className, textContent: word(name), onclick: action });
  made.setAttribute("aria-label", `${word(name)}: ${subject}`);
  return made;
}

function openOrClose(dialog, isWanted) {
  if (isWanted && !dialog.open) dialog.showModal();
  if (!isWanted && dialog.open) dialog.close();
}

export class FaceModel {
  #ask;
  #state = {};
  #isAsked = false; // the dialog has been sent off
  #doomed = null; // what is to be deleted once that is confirmed

  constructor(ask) {
    this.#ask = ask;
    at("adapt-open").onclick = () => this.#open();
    at("adapt-cancel").onclick = () => at("adapt-dialog").close();
    at("adapt-dialog").onclose = () => {
      if (!this.#isBusy) this.#ask({ adapt_close: true }); // what was wrong with it is wrong no more
    };
    at("adapt-form").onsubmit = (event) => {
      event.preventDefault();
      this.#isAsked = true;
      const [name, camera, agreed] = [at("adapt-name").value, at("adapt-camera").value, at("adapt-agreed").checked];
      this.#ask({ adapt: { name, camera, agreed } });
    };
    for (const id of ["minute-stop", "adapt-stop"]) at(id).onclick = () => this.#ask({ adapt_stop: true });
    at("minute").oncancel = (event) => event.preventDefault(); // a key pressed by mistake would cost the film
    at("adapt-use").onclick = () => this.#ask({ use_model: this.#state.adapt.name });
    at("adapt-close").onclick = () => this.#ask({ adapt_close: true });
    at("delete-no").onclick = () => at("delete-dialog").close();
    at("delete-yes").onclick = () => {
      this.#ask(this.#doomed);
      at("delete-dialog").close();
    };
  }

  // Where the driver's picture is shown now, null for its usual place.
  get canvas() {
    return this.isRecording ? at("minute-picture") : null;
  }

  get #isBusy() {
    return ["recording", "working"].includes(this.#state.adapt?.stage);
  }

  get isRecording() {
    return this.#state.adapt?.stage === "recording";
  }

  render(state) {
    this.#state = state;
    const { adapt, models } = state;
    at("face-model").hidden = !adapt || !models; // where another machine computes, there is none of it
    if (!adapt || !models) return;
    this.#renderModels();
    this.#renderDialog();
    this.#renderMinute();
    this.#renderWork();
    this.#renderResult();
  }

  #open() {
    this.#isAsked = false;
    this.#ask({ adapt_close: true });
    at("adapt-form").reset();
    at("adapt-camera").value = this.#state.camera === CLIP ? at("adapt-camera").value : this.#state.camera;
    at("adapt-dialog").showModal();
  }

  #renderModels() {
    const { models } = this.#state;
    const list = at("models");
    const isHeld = this.isRecording || this.#state.phase === "starting";
    const wanted = JSON.stringify([models, isHeld, this.#isBusy, languageNow()]);
    if (list.dataset.shown === wanted) return;
    list.dataset.shown = wanted;
    const known = [models.shipped, ...models.own.map((model) => model.name)];
    const items = [this.#model({ name: models.shipped, note: word("modelShipped") })];
    if (!known.includes(models.used)) items.push(this.#model({ name: models.used, note: word("modelGiven") }));
    for (const model of models.own) {
      const note = model.problem ?? [word(model.on ? "modelOwn" : "modelOwnUndated", { day: model.on }), model.is_for_one_face ? word("modelOneFace") : ""]
        .filter(Boolean).join(" ");
      items.push(this.#model({ ...model, note, isOwn: true }));
    }
    items.push(...models.unfinished.map((name) => this.#unfinished(name)));
    list.replaceChildren(...items);
    for (const each of list.querySelectorAll("button")) each.disabled ||= isHeld;
    setText(at("models-error"), models.error ?? "");
    at("models-error").hidden = !models.error;
  }

  #model({ name, note, problem, isOwn }) {
    const isUsed = name === this.#state.models.used;
    const item = make("li", { className: "model" },
      make("div", {}, make("strong", { textContent: name }), " ", make("small", { textContent: note })));
    item.dataset.used = String(isUsed);
    if (isUsed) item.append(make("span", { className: "pill", textContent: word("modelUsed") }));
    else if (!problem) item.append(button("modelUse", name, () => this.#ask({ use_model: name })));
    if (isOwn && !isUsed) item.append(button("modelDelete", name, () => this.#askFirst("modelDeleteAsk", name, { delete_model: name })));
    return item;
  }

  #unfinished(name) {
    const item = make("li", { className: "model" },
      make("div", {}, make("strong", { textContent: name }), " ", make("small", { textContent: word("modelUnfinished") })));
    if (!this.#isBusy && !this.#state.adapt.problem) item.append(button("modelGoOn", name, () => this.#ask({ adapt_go_on: name })));
    item.append(button("modelDelete", name, () => this.#askFirst("modelForgetAsk", name, { adapt_forget: name })));
    return item;
  }

  #askFirst(question, name, request) {
    this.#doomed = request;
    setText(at("delete-question"), word(question, { name }));
    at("delete-dialog").showModal();
  }

  #renderDialog() {
    const { adapt, cameras } = this.#state;
    const select = at("adapt-camera");
    const webcams = cameras.filter((camera) => camera.id !== CLIP);
    const wanted = JSON.stringify(webcams);
    if (select.dataset.shown !== wanted) {
      select.dataset.shown = wanted;
      const chosen = select.value;
      select.replaceChildren(...webcams.map((camera) => make("option", { value: camera.id, textContent: camera.name })));
      if (webcams.some((camera) => camera.id === chosen)) select.value = chosen;
    }
    const error = webcams.length ? (this.#isAsked && adapt.error) || "" : word("adaptNoWebcam");
    setText(at("adapt-dialog-error"), error);
    at("adapt-dialog-error").hidden = !error;
    at("adapt-begin").disabled = !webcams.length;
    if (this.#isBusy && at("adapt-dialog").open) at("adapt-dialog").close();
  }

  #renderMinute() {
    const { adapt, minute } = this.#state;
    openOrClose(at("minute"), this.isRecording);
    if (!this.isRecording) return;
    at("minute-picture").setAttribute("aria-label", word("driverLabel"));
    const text = !minute ? word("minuteOpening") : minute.step === "more"
      ? word("step_more", { what: minute.needs.map((need) => word(`more_${need}`)).join("; ") })
      : word(`step_${minute.step}`);
    setText(at("minute-text"), text);
    at("minute-text").dataset.step = minute?.step ?? "";
    const isSeen = !minute || minute.has_face;
    at("minute-no-face").hidden = isSeen;
    setText(at("minute-left"), minute ? word("minuteLeft", { seconds: minute.left_s }) : "");
    const ticks = at("minute-ticks");
    const wanted = JSON.stringify([minute?.needs, minute?.shown, languageNow()]);
    if (ticks.dataset.shown !== wanted) {
      ticks.dataset.shown = wanted;
      ticks.replaceChildren(...(minute?.needs ?? []).map((need) => {
        const isShown = minute.shown.includes(need);
        const tick = make("li", { textContent: `${isShown ? "✓" : "○"} ${word(`need_${need}`)}` });
        tick.dataset.need = need;
        tick.dataset.kind = isShown ? "good" : "quiet";
        return tick;
      }));
    }
    at("minute-stop").disabled = adapt.is_stopping;
  }

  #renderWork() {
    const { adapt, adapting } = this.#state;
    const isWorking = adapt.stage === "working";
    const isBusy = this.#isBusy;
    setText(at("adapt-problem"), adapt.problem ?? "");
    at("adapt-problem").hidden = !adapt.problem;
    at("adapt-open").hidden = isBusy || Boolean(adapt.problem);
    at("adapt-what").hidden = isBusy || adapt.stage === "done";
    at("adapt-progress").hidden = !isWorking;
    const error = adapt.error ?? "";
    setText(at("adapt-error"), error);
    at("adapt-error").hidden = !error;
    at("adapt-stopped").hidden = adapt.stage !== "stopped";
    const missing = isBusy || adapt.stage === "done" ? adapt.missing : [];
    setText(at("adapt-missing"), word("adaptMissing", { what: missing.map((need) => word(`need_${need}`)).join(", ") }));
    at("adapt-missing").hidden = !missing.length;
    if (!isWorking) return;
    setText(at("adapt-name-made"), word("adaptMaking", { name: adapt.name }));
    const step = adapting ? word(`adapt_${adapting.step}`) : word("adaptStarting");
    setText(at("adapt-step"), adapting ? word("adaptStep", { number: adapting.number, count: adapting.count, step }) : step);
    const share = adapting?.share ?? null;
    if (share === null) at("adapt-bar").removeAttribute("value");
    else at("adapt-bar").value = share;
    at("adapt-bar").setAttribute("aria-label", step);
    setText(at("adapt-left"), adapting ? word("adaptLeft", { minutes: adapting.minutes_left }) : "");
    setText(at("adapt-stop"), word(adapt.is_stopping ? "adaptStopping" : adapting?.keeps_what_it_has ? "adaptEnough" : "adaptStop"));
    at("adapt-stop").disabled = adapt.is_stopping;
  }

  #renderResult() {
    const { adapt, adapt_sheet, models } = this.#state;
    const result = adapt.stage === "done" ? adapt.result : null;
    at("adapt-result").hidden = !result;
    if (!result) return;
    const blamed = result.gains.filter((gain) => gain.is_to_blame).map((gain) => word(measureOf(gain))).join(", ");
    setText(at("adapt-verdict"), word(result.is_kept ? "adaptKept" : "adaptNotKept", { name: adapt.name, what: blamed }));
    at("adapt-verdict").dataset.kind = result.is_kept ? "good" : "warn";
    const isThere = models.own.some((model) => model.name === adapt.name);
    at("adapt-use").hidden = !result.is_kept || !isThere || models.used === adapt.name;
    at("adapt-harm").hidden = !result.is_kept || !result.harm;
    setText(at("adapt-harm"), word("adaptHarm", { percent: Math.round(100 * result.harm) }));
    at("adapt-figure").hidden = !adapt_sheet;
    if (at("adapt-sheet").getAttribute("src") !== (adapt_sheet ?? "")) at("adapt-sheet").setAttribute("src", adapt_sheet ?? "");
    at("adapt-sheet").alt = word("adaptSheet");
    const list = at("adapt-gains");
    const wanted = JSON.stringify([result.gains, languageNow()]);
    if (list.dataset.shown === wanted) return;
    list.dataset.shown = wanted;
    list.replaceChildren(...result.gains.filter((gain) => gain.change !== null).map((gain) => {
      const said = make("dd", { textContent: gainOf(gain), title: gain.figures });
      said.dataset.kind = gain.is_to_blame || gain.is_worse ? "warn" : isBetter(gain) ? "good" : "quiet";
      return make("div", {}, make("dt", { textContent: word(measureOf(gain)) }), said);
    }));
  }
}

function measureOf(gain) {
  return `gain_${gain.name.replaceAll(" ", "_")}`;
}

function isBetter(gain) {
  return gain.is_error ? gain.change < -SAME : gain.change > FOLLOWS;
}

function gainOf(gain) {
  const percent = Math.round(100 * Math.abs(gain.change));
  if (Math.abs(gain.change) <= (gain.is_error ? SAME : FOLLOWS)) return word("gainSame");
  if (!gain.is_error) return word(gain.change > 0 ? "gainFollowsMore" : "gainFollowsLess");
  return word(gain.change < 0 ? "gainCloser" : "gainFarther", { percent });
}
