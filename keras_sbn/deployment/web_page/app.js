/** What the user does, and what the page shows of it. */

import { Classifier, said } from "./classifier.js";
import { decode, frame, readsExactly } from "./pictures.js";
import { cut } from "./preprocessing.js";

/** How many classes are shown. */
const SHOWN = 5;
/** Largest side of the picture on the page, in pixels of a canvas. */
const PREVIEW = 1280;
/** Of how many frames of the camera the time is the median. */
const FRAMES = 15;

const at = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en");

let classifier;
/** Counts what the user asked for, so that the answer to something older is not shown. */
let asked = 0;
let stream = null;

function complain(text) {
  at("message").textContent = text;
  at("message").hidden = text === "";
}

/** Takes away what was shown: it is not the answer to what the user asks for now. */
function clear() {
  complain("");
  at("preview").hidden = at("seen").hidden = true;
  at("invitation").hidden = false;
  at("scores").replaceChildren();
  showFacts(null);
}

function facts(entries) {
  at("facts").replaceChildren(
    ...Object.entries(entries).flatMap(([name, value]) => {
      const term = document.createElement("dt");
      const description = document.createElement("dd");
      term.textContent = name;
      description.textContent = value;
      return [term, description];
    }),
  );
}

const milliseconds = (value) => (value < 0.1 ? "below 0.1 ms" : `${value.toFixed(value < 10 ? 1 : 0)} ms`);

function showFacts(times) {
  const { width, height, channels, bytes, settings, runtime } = classifier;
  const measured = times
    ? { Network: milliseconds(times.network), "Cut and scaled": milliseconds(times.picture) }
    : {};
  facts({
    ...measured,
    File: `${settings.file}, ${whole.format(bytes)} bytes`,
    Input: `${width} × ${height}, ${channels === 1 ? "grey" : "colour"}, ${settings.input.dtype}`,
    Runtime: runtime,
  });
}

/** The whole picture, darker where the network does not look. */
function showPicture(picture) {
  const scale = Math.min(PREVIEW / Math.max(picture.width, picture.height), 1);
  const canvas = at("preview");
  canvas.width = Math.max(Math.round(picture.width * scale), 1);
  canvas.height = Math.max(Math.round(picture.height * scale), 1);
  // Small pictures are shown as the squares that they are.
  canvas.classList.toggle("small", Math.max(picture.width, picture.height) <= 64);
  const context = canvas.getContext("2d");
  picture.draw(context, canvas.width, canvas.height);
  const piece = cut(picture.width, picture.height, classifier.width, classifier.height);
  context.beginPath();
  context.rect(0, 0, canvas.width, canvas.height);
  context.rect(piece.left * scale, piece.top * scale, piece.width * scale, piece.height * scale);
  context.fillStyle = "rgb(0 0 0 / 55%)";
  context.fill("evenodd");
  canvas.hidden = false;
  at("invitation").hidden = true;
}

/** The model's image, one pixel a pixel. */
function showImage(image) {
  const { width, height, channels } = classifier;
  const canvas = at("image");
  canvas.width = width;
  canvas.height = height;
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = image[i * channels + Math.min(c, channels - 1)];
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(pixels, 0, 0);
  at("seen").hidden = false;
}

/** Shares where the scores are shares of 1; else numbers, with bars from the lowest score of all. */
function showScores(scores) {
  const values = scores.map(({ value }) => value);
  const lowest = Math.min(...values);
  const sum = values.reduce((total, value) => total + value, 0);
  const shares = lowest >= 0 && Math.abs(sum - 1) < 0.01 && scores.length > 1;
  const [begin, end] = shares ? [0, 1] : [lowest, Math.max(...values)];
  at("scores").replaceChildren(
    ...scores.slice(0, SHOWN).map(({ label, value }) => {
      const item = document.createElement("li");
      const name = document.createElement("span");
      const number = document.createElement("data");
      const bar = document.createElement("div");
      const filled = document.createElement("div");
      name.textContent = label;
      number.value = String(value);
      number.textContent = shares ? `${(100 * value).toFixed(1)} %` : value.toPrecision(4);
      bar.className = "bar";
      filled.style.width = `${end > begin ? (100 * (value - begin)) / (end - begin) : 100}%`;
      bar.append(filled);
      item.append(name, number, bar);
      return item;
    }),
  );
}

async function show(picture, mine, times = []) {
  const found = await classifier.classify(picture);
  if (mine !== asked) return;
  times.push(found.milliseconds);
  if (times.length > FRAMES) times.shift();
  const median = (name) => times.map((time) => time[name]).sort((a, b) => a - b)[times.length >> 1];
  showPicture(picture);
  showImage(found.image);
  showScores(found.scores);
  showFacts({ network: median("network"), picture: median("picture") });
}

async function classify(blob) {
  stopCamera();
  const mine = ++asked;
  clear();
  let picture;
  try {
    picture = await decode(blob);
    await show(picture, mine);
  } catch (error) {
    if (mine === asked) complain(said(error));
  } finally {
    picture?.close();
  }
}

/** Of what was dropped or pasted, the first file. */
function given(transfer, how) {
  const [file] = transfer?.files ?? [];
  if (file) {
    classify(file);
  } else {
    clear();
    const kinds = [...(transfer?.types ?? [])].join(", ") || "nothing";
    complain(`Expected a picture. Received: ${kinds}, ${how}, and no file`);
  }
}

const CAMERA_ERRORS = {
  NotAllowedError: "this page may not use the camera. Allow it in the browser's settings for this page",
  NotFoundError: "no camera was found on this device",
  NotReadableError: "another program uses the camera, or the system keeps it back",
};

async function startCamera() {
  const mine = ++asked;
  clear();
  if (!navigator.mediaDevices?.getUserMedia) {
    complain(
      "Expected a page of https:// or of localhost, to which alone browsers give the camera. Received: " +
        location.origin,
    );
    return;
  }
  let opened;
  try {
    opened = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 720 } },
    });
  } catch (error) {
    if (mine === asked) complain(`Camera: ${CAMERA_ERRORS[error.name] ?? said(error)}.`);
    return;
  }
  if (mine !== asked) {
    opened.getTracks().forEach((track) => track.stop());
    return;
  }
  stream = opened;
  at("camera").textContent = "Stop the camera";
  at("camera").setAttribute("aria-pressed", "true");
  // A screen reader would read every frame aloud.
  at("scores").setAttribute("aria-live", "off");
  opened.getVideoTracks()[0].addEventListener("ended", () => {
    if (stream !== opened) return;
    stopCamera();
    complain("Camera: it was switched off or taken away.");
  });
  const video = at("video");
  try {
    video.srcObject = opened;
    await video.play();
    const times = [];
    while (mine === asked) {
      if (video.videoWidth > 0) await show(frame(video), mine, times);
      await nextFrame(video);
    }
  } catch (error) {
    if (mine === asked) {
      stopCamera();
      complain(`Camera: ${said(error)}`);
    }
  }
}

function nextFrame(video) {
  return new Promise((resolve) => {
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(resolve);
    else requestAnimationFrame(resolve);
  });
}

function stopCamera() {
  asked++;
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  at("video").srcObject = null;
  at("camera").textContent = "Camera";
  at("camera").setAttribute("aria-pressed", "false");
  at("scores").setAttribute("aria-live", "polite");
}

async function paste() {
  let items;
  try {
    items = await navigator.clipboard.read();
  } catch (error) {
    complain(`Expected a clipboard that this page may read. Received: ${said(error)}`);
    return;
  }
  for (const item of items) {
    const type = item.types.find((name) => name.startsWith("image/"));
    if (type) {
      classify(await item.getType(type));
      return;
    }
  }
  const kinds = items.flatMap((item) => item.types).join(", ") || "nothing";
  complain(`Expected a picture in the clipboard. Received: ${kinds}`);
}

function listen() {
  at("choose").addEventListener("click", () => at("file").click());
  at("file").addEventListener("change", () => {
    const [file] = at("file").files;
    if (file) classify(file);
    // The same file again is a change too.
    at("file").value = "";
  });
  at("camera").addEventListener("click", () => (stream ? stopCamera() : startCamera()));
  at("paste").addEventListener("click", paste);
  at("paste").hidden = !navigator.clipboard?.read;
  document.addEventListener("paste", (event) => given(event.clipboardData, "pasted"));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    at("place").classList.add("over");
  });
  for (const name of ["dragleave", "drop"]) {
    document.addEventListener(name, () => at("place").classList.remove("over"));
  }
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    given(event.dataTransfer, "dropped");
  });
  for (const id of ["choose", "camera", "paste"]) at(id).disabled = false;
}

async function start() {
  try {
    classifier = await Classifier.load();
  } catch (error) {
    at("about").textContent = "No model.";
    complain(said(error));
    return;
  }
  const { settings, labels } = classifier;
  document.title = at("name").textContent = settings.name;
  at("about").textContent = `Tells ${whole.format(labels.length)} classes of pictures apart`;
  showFacts(null);
  listen();
  if (!readsExactly()) {
    complain(
      "This browser changes the pixels that pages read, as a protection against recognition. The network " +
        "sees a picture that is a little different; switch the protection off for this page to be exact.",
    );
  }
}

start();
