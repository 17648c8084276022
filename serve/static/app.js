// The page: translates while one types, and shows what the server is doing.
// Everything from texts goes into the page by textContent alone: it can never become markup.
"use strict";

const byId = (id) => document.getElementById(id);
const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

const PAUSE = 250; // milliseconds without typing before a translation is asked for
const ALTERNATIVES = 3;
const ALIGNED = 2000; // characters of a text whose words are shown one by one
const POINTS = 120; // of the chart, one a second

const state = { languages: [], limit: 0, key: "", running: null, timer: 0, settings: null };

// Requests

class Failure extends Error {
  constructor(text, wait = 0) {
    super(text);
    this.wait = wait; // seconds after which it may go better; 0: it will not
  }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server cannot be reached. Is it running?");
  }
  const values = await answer.json().catch(() => ({}));
  if (answer.ok) return values;
  const wait = Number(answer.headers.get("retry-after"));
  throw new Failure(inWords(answer.status, values.error, wait), wait);
}

function inWords(status, text, wait) {
  const later = wait ? ` Try again in ${wait} s.` : "";
  if (status === 403 && state.settings?.keyRequired) askForKey();
  if (status === 429) return `Too many requests from you.${later}`;
  if (status === 503) return `${text || "The server has too much to do."}${later}`;
  if (status === 504) return "The translation took too long. Try a shorter text.";
  if (status === 413) return "The text is too long.";
  return text || `The server answered with an error (${status}).`;
}

function headers() {
  const found = { "content-type": "application/json" };
  if (state.key) found.authorization = `Bearer ${state.key}`;
  return found;
}

// Languages

async function start() {
  try {
    [state.languages, state.settings] = await Promise.all([ask("/languages"), ask("/frontend/settings")]);
  } catch (error) {
    showError(error.message);
    setTimeout(start, 3000); // it may be loading
    return;
  }
  showError("");
  state.limit = state.settings.charLimit;
  if (state.settings.keyRequired) askForKey();
  const sources = state.languages.filter((one) => one.targets.length);
  fill(byId("source-language"), [{ code: "auto", name: "Detect language" }, ...sources]);
  byId("source-language").value = state.settings.language.source.code;
  fillTargets(state.settings.language.target.code);
  showCount();
  translateSoon(0);
}

function askForKey() {
  byId("key-form").hidden = false;
}

function fill(select, languages) {
  select.replaceChildren(...languages.map(({ code, name }) => new Option(name, code)));
}

function fillTargets(wanted) {
  const source = byId("source-language").value;
  const reachable = new Set(
    source === "auto"
      ? state.languages.flatMap((one) => one.targets)
      : state.languages.find((one) => one.code === source).targets,
  );
  const select = byId("target-language");
  fill(select, state.languages.filter((one) => reachable.has(one.code)));
  if (reachable.has(wanted)) select.value = wanted;
  const back = state.languages.find((one) => one.code === select.value);
  byId("swap").disabled = source !== "auto" && !back?.targets.includes(source);
}

function swap() {
  if (byId("swap").disabled) return;
  const from = byId("source-language");
  const before = from.value === "auto" ? state.detected : from.value;
  const target = byId("target-language").value;
  const back = state.languages.find((one) => one.code === target);
  if (!before || !back.targets.includes(before)) {
    showError("There is no model for the way back.");
    return;
  }
  from.value = target;
  fillTargets(before);
  byId("source").value = byId("translation").textContent || byId("source").value;
  showCount();
  translateSoon(0);
}

// Translating

function translateSoon(pause = PAUSE) {
  clearTimeout(state.timer);
  state.timer = setTimeout(translate, pause);
}

async function translate() {
  state.running?.abort();
  const text = byId("source").value;
  showError("");
  if (!text.trim()) {
    show(null);
    return;
  }
  if (text.length > state.limit) {
    showError(`The text has ${text.length} characters; at most ${state.limit} are translated at once.`);
    return;
  }
  const running = (state.running = new AbortController());
  byId("translation").classList.add("old");
  byId("busy").textContent = "Translating …";
  try {
    const answer = await ask("/translate", {
      method: "POST",
      headers: headers(),
      signal: running.signal,
      body: JSON.stringify({
        q: text,
        source: byId("source-language").value,
        target: byId("target-language").value,
        alternatives: Math.min(ALTERNATIVES, state.settings.maxAlternatives),
        scores: true,
        alignments: text.length <= ALIGNED,
      }),
    });
    if (running === state.running) show(answer);
  } catch (error) {
    if (error.name === "AbortError") return;
    show(null);
    showError(error.message);
    if (error.wait) translateSoon(1000 * error.wait);
  } finally {
    if (running === state.running) {
      byId("busy").textContent = "";
      byId("translation").classList.remove("old");
    }
  }
}

function show(answer) {
  byId("translation").textContent = answer?.translatedText ?? "";
  byId("translation").lang = byId("target-language").value;
  byId("copy").disabled = !answer;
  byId("copy").textContent = "Copy";
  const confidence = answer?.confidence;
  byId("confidence").hidden = confidence == null;
  if (confidence != null) {
    byId("meter").value = confidence;
    byId("percent").textContent = `${Math.round(100 * confidence)} %`;
  }
  const others = answer?.alternatives ?? [];
  byId("more").hidden = !others.length;
  byId("alternatives").replaceChildren(...others.map((text) => make("li", "", text)));
  showDetected(answer?.detectedLanguage);
  showWords(answer?.alignments ?? []);
  if (answer?.truncated) showError("A part of the translation was cut off: it became too long.");
}

function showDetected(detected) {
  state.detected = detected?.language;
  const auto = byId("source-language").options[0];
  const name = state.languages.find((one) => one.code === detected?.language)?.name;
  auto.textContent = name ? `Detected: ${name}` : "Detect language";
}

function showError(text) {
  byId("error").textContent = text;
  byId("error").hidden = !text;
}

function showCount() {
  byId("count").textContent = `${byId("source").value.length} / ${state.limit}`;
}

// Which word was translated from which

function wordsOf(pieces) {
  const words = [];
  pieces.forEach((piece, place) => {
    const starts = piece.startsWith("▁") || !words.length;
    const text = piece.replaceAll("▁", "");
    if (starts) words.push({ text, pieces: [place] });
    else {
      const last = words[words.length - 1];
      last.text += text;
      last.pieces.push(place);
    }
  });
  return words.filter((word) => word.text);
}

function showWords(sentences) {
  byId("words").hidden = !sentences.length;
  byId("alignment").replaceChildren(...sentences.map(sentenceOf));
}

function sentenceOf({ source, target, weights }) {
  const box = make("div", "sentence");
  const from = wordsOf(source).map((word) => ({ ...word, element: make("span", "word", word.text) }));
  const line = make("div");
  const lineFrom = make("div", "muted");
  for (const word of from) lineFrom.append(word.element, " ");
  for (const word of wordsOf(target)) {
    const element = make("span", "word", word.text);
    const shares = from.map((one) => sum(word.pieces, (t) => sum(one.pieces, (s) => weights[t][s])));
    const most = Math.max(...shares);
    const looked = from.filter((_, i) => most > 0 && shares[i] >= 0.5 * most);
    element.tabIndex = 0;
    element.setAttribute("aria-label", `${word.text}, from ${looked.map((one) => one.text).join(" ") || "nothing"}`);
    element.setAttribute("role", "note");
    const light = (on) => [element, ...looked.map((one) => one.element)].forEach((one) => one.classList.toggle("on", on));
    for (const kind of ["mouseenter", "focus"]) element.addEventListener(kind, () => light(true));
    for (const kind of ["mouseleave", "blur"]) element.addEventListener(kind, () => light(false));
    line.append(element, " ");
  }
  box.append(line, lineFrom);
  return box;
}

const sum = (values, of) => values.reduce((total, value) => total + of(value), 0);

// The server

const history = [];

async function watch() {
  clearTimeout(state.watching);
  if (byId("view-server").hidden) return;
  try {
    const now = await ask("/status");
    byId("server-error").hidden = true;
    showStatus(now);
  } catch (error) {
    byId("server-error").textContent = error.message;
    byId("server-error").hidden = false;
  }
  clearTimeout(state.watching);
  state.watching = setTimeout(watch, 1000);
}

function showStatus(now) {
  const before = history.at(-1);
  history.push({ at: performance.now(), ...now });
  if (history.length > POINTS) history.shift();
  const speed = before
    ? (1000 * (now.sentences - before.sentences)) / (performance.now() - before.at)
    : 0;
  const minute = now.last_minute;
  const figures = [
    ["Waiting sentences", now.waiting_sentences],
    ["Running batch", `${now.running_sentences} sentences`],
    ["Padding", `${Math.round(100 * now.padding)} %`],
    ["Translated now", `${speed.toFixed(1)} a second`],
    ["Requests, last minute", minute.requests],
    ["Median", minute.p50_ms == null ? "–" : `${minute.p50_ms} ms`],
    ["99th percentile", minute.p99_ms == null ? "–" : `${minute.p99_ms} ms`],
    ["Sentences in all", now.sentences],
  ];
  byId("figures").replaceChildren(
    ...figures.map(([name, value]) => {
      const box = make("div");
      box.append(make("dt", "", name), make("dd", "", String(value)));
      return box;
    }),
  );
  draw();
}

function draw() {
  const most = Math.max(4, ...history.flatMap((one) => [one.waiting_sentences, one.running_sentences]));
  const line = (name, key) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    const first = POINTS - history.length;
    element.setAttribute("class", name);
    element.setAttribute(
      "points",
      history.map((one, i) => `${((first + i) * 600) / (POINTS - 1)},${155 - (150 * one[key]) / most}`).join(" "),
    );
    return element;
  };
  byId("chart").replaceChildren(line("waiting", "waiting_sentences"), line("running", "running_sentences"));
  byId("scale").textContent = `· top of the chart: ${most}`;
}

// Tabs, buttons and keys

function select(tab) {
  for (const one of document.querySelectorAll('[role="tab"]')) {
    const on = one === tab;
    one.setAttribute("aria-selected", String(on));
    one.tabIndex = on ? 0 : -1;
    byId(one.getAttribute("aria-controls")).hidden = !on;
  }
  if (tab.id === "tab-server") watch();
}

for (const tab of document.querySelectorAll('[role="tab"]')) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const other = document.querySelector('[role="tab"][aria-selected="false"]');
    select(other);
    other.focus();
  });
}

byId("key").addEventListener("change", () => {
  state.key = byId("key").value.trim();
  byId("key-form").hidden = Boolean(state.key);
  translateSoon(0);
});
byId("source").addEventListener("input", () => {
  showCount();
  translateSoon();
});
byId("source-language").addEventListener("change", () => {
  fillTargets(byId("target-language").value);
  translateSoon(0);
});
byId("target-language").addEventListener("change", () => {
  fillTargets(byId("target-language").value);
  translateSoon(0);
});
byId("swap").addEventListener("click", swap);
byId("clear").addEventListener("click", () => {
  byId("source").value = "";
  showCount();
  translateSoon(0);
  byId("source").focus();
});
byId("copy").addEventListener("click", async () => {
  const text = byId("translation").textContent;
  try {
    await navigator.clipboard.writeText(text);
    byId("copy").textContent = "Copied";
  } catch {
    window.getSelection().selectAllChildren(byId("translation"));
    byId("copy").textContent = "Selected";
  }
});
document.addEventListener("keydown", (event) => {
  if (event.altKey && event.key.toLowerCase() === "s") {
    event.preventDefault();
    swap();
  }
});

start();
