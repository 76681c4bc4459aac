// What the page says, in each language. English is the fallback.

const english = {
  language: "Deutsch", theme: "Light or dark", quit: "End",
  you: "You", others: "What others see",
  start: "Start", stop: "Stop", starting: "Starting …",
  panic: "Hide", myself: "Show myself", neutral: "This is my neutral face",
  record: "Record", recording: "Stop recording",
  fps: "pictures a second", latency: "delay", dropped: "left out", engine: "computed by",
  photos: "Photo", drop: "Drop a photo here, or choose a file", take: "take this photo", away: "take away",
  source: "Your webcam", webcam: "Who moves it", clip: "the bundled film (no webcam needed)", address: "as given at the start",
  output: "In your call",
  follow: "What follows you", reset: "Reset", keys: "Keyboard",
  mouth: "mouth", eyes: "eyelids", brows: "brows", gaze: "gaze", head: "head", strength: "everything",
  smoothing: "smoothing", zoom: "zoom",
  lock_gaze: "look into the camera", mirror_output: "mirror what others see", search: "look for a better neutral face",
  region: "move", all: "all of the face", expression: "only the expression", onlyHead: "only the head",
  onlyMouth: "only the mouth", onlyEyes: "only the eyes",
  idle: "ready", running: "live", failed: "stopped", offline: "The app has ended, or is being started again. Looking for it …",
  refused: "This page was opened without its key, or the app was started again: open it from the app once more.",
  noPhoto: "Choose a photo of a face to begin.", noDriver: "Your webcam appears here.", noSent: "Your avatar appears here.",
  noFace: "no face in the picture", dark: "too dark", limited: "motion limited", found: "face found",
  hidden: "hidden: others see a still card", passing: "others see you",
  virtualOn: "In Zoom, Meet or Teams choose the camera “{name}”.",
  virtualOff: "No virtual camera yet. It is looked for all the time.",
  virtualIdle: "Press Start, then the virtual camera is opened.",
  helpLinux: "Once, in a terminal:\nsudo apt install v4l2loopback-dkms\nsudo modprobe v4l2loopback devices=1 exclusive_caps=1 card_label=avatarify",
  helpWindows: "Install OBS Studio once (obsproject.com), start it, press “Start Virtual Camera”, then stop it again.",
  helpMac: "Install OBS Studio once (obsproject.com), start it, press “Start Virtual Camera”, allow it in the system settings, then stop it again.",
  saved: "Recorded: {path}",
  full: "All places are taken. Looking again …", over: "The call has ended, because its time was over or no pictures came. Press Start to call again.",
  callLost: "The connection broke off. Looking for it …",
  cameraRefused: "The browser does not let this page use the webcam: allow it in the address bar.",
  cameraMissing: "No webcam can be used: connect one, or close what uses it.",
  noWebRtc: "This browser cannot make the connection (WebRTC).", webcamNumber: "webcam {number}",
  callOutput: "The avatar is shown on this page.",
  callOutputHelp: "To have it as a camera in Zoom, Meet or Teams, run this on your computer:\navatarify --avatar PHOTO --remote {address}",
  consentTitle: "Before the first call",
  consentOwn: "Use photos of yourself only, or of people who agreed to it.",
  consentTell: "Tell the people you call that they see an avatar. Do not use it to pass for somebody else or to deceive: in many countries that is against the law.",
  consentMark: "The picture is marked as made by AI; leave the mark in. Nothing leaves this computer.",
  consentAway: "Your webcam's pictures and the photos that you choose go to {host}, where the avatar is computed. They are forgotten there when the call ends. The picture is marked as made by AI; leave the mark in.",
  agree: "I understand",
  driverLabel: "your webcam", sentLabel: "the avatar as others see it",
};

const german = {
  language: "English", theme: "Hell oder dunkel", quit: "Beenden",
  you: "Du", others: "Was andere sehen",
  start: "Los", stop: "Anhalten", starting: "Startet …",
  panic: "Verbergen", myself: "Mich selbst zeigen", neutral: "Das ist mein neutrales Gesicht",
  record: "Aufnehmen", recording: "Aufnahme beenden",
  fps: "Bilder je Sekunde", latency: "Verzögerung", dropped: "ausgelassen", engine: "berechnet von",
  photos: "Foto", drop: "Foto hierher ziehen oder Datei wählen", take: "dieses Foto nehmen", away: "entfernen",
  source: "Deine Webcam", webcam: "Wer es bewegt", clip: "der mitgelieferte Film (ohne Webcam)", address: "wie beim Start angegeben",
  output: "In deinem Gespräch",
  follow: "Was dir folgt", reset: "Zurücksetzen", keys: "Tastatur",
  mouth: "Mund", eyes: "Lider", brows: "Brauen", gaze: "Blick", head: "Kopf", strength: "alles",
  smoothing: "Glättung", zoom: "Zoom",
  lock_gaze: "in die Kamera schauen", mirror_output: "spiegeln, was andere sehen", search: "besseres neutrales Gesicht suchen",
  region: "bewegen", all: "das ganze Gesicht", expression: "nur die Mimik", onlyHead: "nur den Kopf",
  onlyMouth: "nur den Mund", onlyEyes: "nur die Augen",
  idle: "bereit", running: "live", failed: "angehalten", offline: "Die App ist beendet oder wird neu gestartet. Sie wird gesucht …",
  refused: "Diese Seite wurde ohne ihren Schlüssel geöffnet, oder die App wurde neu gestartet: bitte noch einmal aus der App öffnen.",
  noPhoto: "Wähle zuerst ein Foto mit einem Gesicht.", noDriver: "Hier erscheint deine Webcam.", noSent: "Hier erscheint dein Avatar.",
  noFace: "kein Gesicht im Bild", dark: "zu dunkel", limited: "Bewegung begrenzt", found: "Gesicht gefunden",
  hidden: "verborgen: andere sehen eine ruhige Karte", passing: "andere sehen dich",
  virtualOn: "Wähle in Zoom, Meet oder Teams die Kamera „{name}“.",
  virtualOff: "Noch keine virtuelle Kamera. Sie wird laufend gesucht.",
  virtualIdle: "Drücke Los, dann wird die virtuelle Kamera geöffnet.",
  helpLinux: "Einmal, in einem Terminal:\nsudo apt install v4l2loopback-dkms\nsudo modprobe v4l2loopback devices=1 exclusive_caps=1 card_label=avatarify",
  helpWindows: "Einmal OBS Studio installieren (obsproject.com), starten, „Virtuelle Kamera starten“ drücken und wieder beenden.",
  helpMac: "Einmal OBS Studio installieren (obsproject.com), starten, „Virtuelle Kamera starten“ drücken, in den Systemeinstellungen erlauben und wieder beenden.",
  saved: "Aufgenommen: {path}",
  full: "Alle Plätze sind besetzt. Es wird weiter gesucht …", over: "Das Gespräch ist zu Ende, weil seine Zeit um war oder keine Bilder kamen. Drücke Los, um wieder anzurufen.",
  callLost: "Die Verbindung ist abgerissen. Sie wird gesucht …",
  cameraRefused: "Der Browser lässt diese Seite nicht an die Webcam: erlaube es in der Adresszeile.",
  cameraMissing: "Keine Webcam ist zu gebrauchen: schließe eine an oder beende, was sie benutzt.",
  noWebRtc: "Dieser Browser kann die Verbindung nicht herstellen (WebRTC).", webcamNumber: "Webcam {number}",
  callOutput: "Der Avatar ist auf dieser Seite zu sehen.",
  callOutputHelp: "Als Kamera in Zoom, Meet oder Teams hast du ihn mit diesem Befehl auf deinem Rechner:\navatarify --avatar FOTO --remote {address}",
  consentTitle: "Vor dem ersten Gespräch",
  consentOwn: "Nimm nur Fotos von dir oder von Menschen, die zugestimmt haben.",
  consentTell: "Sag den anderen, dass sie einen Avatar sehen. Gib dich damit nicht für jemand anderen aus und täusche niemanden: in vielen Ländern ist das verboten.",
  consentMark: "Das Bild ist als von KI gemacht gekennzeichnet; lass das Zeichen darin. Nichts verlässt diesen Rechner.",
  consentAway: "Die Bilder deiner Webcam und die Fotos, die du wählst, gehen an {host}, wo der Avatar berechnet wird. Dort werden sie vergessen, sobald das Gespräch endet. Das Bild ist als von KI gemacht gekennzeichnet; lass das Zeichen darin.",
  agree: "Verstanden",
  driverLabel: "deine Webcam", sentLabel: "der Avatar, wie andere ihn sehen",
};

const keysInGerman = {
  "Avatar": "Avatar", "Motion": "Bewegung", "What follows you": "Was dir folgt", "Your position": "Dein Platz",
  "What is sent": "Was gesendet wird",
  "be the avatar of that number": "Avatar mit dieser Nummer", "previous or next avatar": "voriger oder nächster Avatar",
  "read the photos again": "Fotos neu lesen", "take your face now as neutral": "jetziges Gesicht als neutral nehmen",
  "look for a better neutral face, on or off": "besseres neutrales Gesicht suchen, an oder aus",
  "move less or more than you do": "weniger oder mehr bewegen als du", "smooth less or more": "weniger oder mehr glätten",
  "the mouth follows less or more": "der Mund folgt weniger oder mehr", "the same of the eyelids": "ebenso die Lider",
  "the same of the brows": "ebenso die Brauen", "the same of the gaze": "ebenso der Blick",
  "the same of the head's nods and turns": "ebenso Nicken und Drehen des Kopfes",
  "look into the camera, on or off": "in die Kamera schauen, an oder aus",
  "move all, expression, head, mouth or eyes alone": "alles, Mimik, Kopf, Mund oder Augen allein bewegen",
  "zoom in or out": "näher oder weiter", "move the view left or right": "Ausschnitt nach links oder rechts",
  "move the view up or down": "Ausschnitt nach oben oder unten", "the same, finely": "ebenso, fein",
  "reset zoom and place": "Zoom und Ausschnitt zurücksetzen", "mirror what others see": "spiegeln, was andere sehen",
  "hide: send a still card, on or off": "verbergen: ruhige Karte senden, an oder aus",
  "show yourself, on or off": "dich selbst zeigen, an oder aus", "reset all that keys change": "alles Veränderte zurücksetzen",
  "Window": "Fenster",
};

const languages = { en: english, de: german };
let current = "en";

export function languageNow() {
  return current;
}

export function chooseLanguage(name) {
  current = name in languages ? name : "en";
  document.documentElement.lang = current;
}

export function word(name, values = {}) {
  const text = languages[current][name] ?? english[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
}

export function keyWord(text) {
  return current === "de" ? keysInGerman[text] ?? text : text;
}
