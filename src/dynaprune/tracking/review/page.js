// Shows one suspect at a time, and keeps the verdicts in the browser. Texts of the dataset become
// text nodes and attributes only, never HTML.
const $ = (id) => document.getElementById(id);
const { cards, choices, typical } = JSON.parse($("data").textContent);
const KEY = "dynaprune-verdicts-" + $("data").dataset.fingerprint;
const VERDICTS = ["right", "wrong", "skip"];
const FEW = 10; // so many classes have a button and a digit key each; more are a list

// the key of each class: its own name if all are digits, as in MNIST
const isDigits = choices.every((label) => /^[0-9]$/.test(label));
const keyOf = (place) => (isDigits ? choices[place] : String((place + 1) % 10));

const verdicts = new Map(); // from the position of a card to [verdict, new label]
const past = []; // what undo restores: [position, earlier entry]
let at = -1; // nothing is shown yet
let isKept = true;

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    for (const [index, verdict, label] of kept) {
      const position = cards.findIndex((card) => card.index === index);
      if (position >= 0 && VERDICTS.includes(verdict)) verdicts.set(position, [verdict, String(label)]);
    }
  } catch {
    isKept = false;
  }
}

function keep() {
  try {
    const kept = [...verdicts].map(([position, entry]) => [cards[position].index, ...entry]);
    localStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    isKept = false;
  }
}

function isListed(position) {
  const [label, verdict] = [$("of-label").value, $("of-verdict").value];
  if (label !== "" && cards[position].label !== cards[Number(label)].label) return false;
  return verdict === "" || (verdicts.get(position)?.[0] ?? "none") === verdict;
}

function move(step) {
  for (let to = at + step; to >= 0 && to < cards.length; to += step) {
    if (isListed(to)) return show(to);
  }
}

function nextUndecided() {
  const order = cards.map((_, place) => (at + 1 + place) % cards.length);
  return order.find((place) => isListed(place) && !verdicts.has(place)) ?? -1;
}

function decide(verdict, label = "") {
  past.push([at, verdicts.get(at)]);
  verdicts.set(at, [verdict, label]);
  keep();
  const next = nextUndecided();
  show(next >= 0 ? next : at);
}

function choose(label) {
  if (label === cards[at].label) decide("right");
  else decide("wrong", label);
}

function undo() {
  if (past.length === 0) return;
  const [position, entry] = past.pop();
  if (entry === undefined) verdicts.delete(position);
  else verdicts.set(position, entry);
  keep();
  show(position);
}

function picture(sample, name) {
  if (sample.kind === "image") return make("img", { src: sample.content, alt: name });
  if (sample.kind === "text") return make("blockquote", {}, sample.content);
  if (sample.kind !== "sound") return make("code", {}, sample.content);
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 119 40");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "waveform of " + name);
  svg.append(document.createElementNS(space, "polygon"));
  svg.firstChild.setAttribute("points", sample.content);
  return svg;
}

function saysVerdict([verdict, label]) {
  if (verdict === "skip") return "skipped";
  return label === "" ? verdict : "wrong, it is " + label;
}

function showCard() {
  const card = cards[at];
  const name = "sample " + card.index;
  const sound = card.sound === "" ? [] : [make("audio", { controls: "", src: card.sound })];
  const facts = [
    "label quality " + card.quality.toFixed(3),
    card.visits.toLocaleString("en") + (card.visits === 1 ? " visit" : " visits"),
    "index " + card.index,
  ];
  if (card.id !== "") facts.push(card.id);
  $("card").replaceChildren(
    make("figure", {}, picture(card, name), ...sound),
    make("p", { class: "label" }, "labelled ", make("strong", {}, card.label === "" ? "(no label)" : card.label)),
    make("small", {}, facts.join(" · ")),
  );
  $("card").dataset.at = at;
}

function showVerdict() {
  const entry = verdicts.get(at);
  $("question").replaceChildren(
    ...(entry === undefined ? ["Is this label right?"] : ["Your verdict: ", make("strong", {}, saysVerdict(entry))]),
  );
  for (const button of document.querySelectorAll("[data-verdict]")) {
    button.setAttribute("aria-pressed", button.dataset.verdict === entry?.[0]);
  }
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.disabled = button.dataset.choice === cards[at].label;
    button.setAttribute("aria-pressed", entry?.[0] === "wrong" && button.dataset.choice === entry[1]);
  }
  const list = $("choice");
  if (list !== null) list.value = entry?.[0] === "wrong" ? entry[1] : "";
  $("undo").disabled = past.length === 0;
}

function showTypical() {
  const samples = typical[cards[at].label] ?? [];
  $("typical").replaceChildren();
  if (samples.length === 0) return;
  const items = samples.map((sample) => make("li", {}, picture(sample, "a typical sample")));
  $("typical").append(
    make("h2", {}, "Typical of ", make("q", {}, cards[at].label)),
    make("ul", { class: "tiles" }, ...items),
  );
}

function showList() {
  for (const [position, item] of [...$("all").children].entries()) {
    item.hidden = !isListed(position);
    item.dataset.is = verdicts.get(position)?.[0] ?? "none";
    const button = item.firstChild;
    const entry = verdicts.get(position);
    button.lastChild.textContent = entry === undefined ? "" : saysVerdict(entry);
    if (position === at) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

function showCount() {
  const found = [...verdicts.values()].map(([verdict]) => verdict);
  const count = (verdict) => found.filter((each) => each === verdict).length;
  const [right, wrong, skipped] = VERDICTS.map(count);
  const decided = right + wrong;
  $("progress").max = cards.length;
  $("progress").value = decided;
  const parts = [`${decided} of ${cards.length} decided`, `${wrong} wrong`];
  if (skipped > 0) parts.push(`${skipped} skipped`);
  $("count").textContent = parts.join(", ");
  $("save").disabled = verdicts.size === 0;
  const notes = [];
  if (!isKept) notes.push("This browser does not keep your verdicts: save them before you leave the page.");
  if (verdicts.size === cards.length) notes.push("You have seen all suspects: save the verdicts.");
  $("note").textContent = notes.join(" ");
}

function show(position) {
  const isFirst = at < 0;
  at = position;
  showCard();
  showVerdict();
  showTypical();
  showList();
  showCount();
  if (!isFirst) $("card").scrollIntoView({ block: "nearest" });
}

function quoted(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

function save() {
  const rows = [["index", "id", "label", "verdict", "new_label"]];
  for (const position of [...verdicts.keys()].sort((one, other) => one - other)) {
    const { index, id, label } = cards[position];
    rows.push([index, id, label, ...verdicts.get(position)]);
  }
  const text = rows.map((row) => row.map(quoted).join(",") + "\r\n").join("");
  const link = make("a", { download: "verdicts.csv" });
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function buildChoices() {
  if (choices.length === 0) return;
  if (choices.length > FEW) {
    const list = make("select", { id: "choice" }, make("option", { value: "" }, "choose"));
    for (const label of choices) list.append(make("option", { value: label }, label));
    list.addEventListener("change", () => list.value !== "" && choose(list.value));
    $("other").append(make("label", {}, "or wrong, and it is ", list));
    return;
  }
  const hint = (place) => (isDigits ? [] : [" ", make("kbd", {}, keyOf(place))]);
  const buttons = choices.map((label, place) =>
    make("button", { type: "button", "data-choice": label }, label, ...hint(place)),
  );
  for (const button of buttons) button.addEventListener("click", () => choose(button.dataset.choice));
  $("other").append(make("p", {}, "or wrong, and it is"), make("div", { class: "choices" }, ...buttons));
}

function buildFilter() {
  const first = new Map(); // from each label to the first card that has it
  const counts = new Map();
  for (const [position, { label }] of cards.entries()) {
    if (!first.has(label)) first.set(label, position);
    counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  $("of-label").append(make("option", { value: "" }, `all (${cards.length})`));
  for (const label of [...first.keys()].sort()) {
    const text = `${label === "" ? "(no label)" : label} (${counts.get(label)})`;
    $("of-label").append(make("option", { value: first.get(label) }, text));
  }
}

function buildList() {
  for (const [position, card] of cards.entries()) {
    const small = card.kind === "text" || card.kind === "other" ? { ...card, content: card.content.slice(0, 200) } : card;
    const button = make(
      "button",
      { type: "button" },
      picture(small, "sample " + card.index),
      make("span", {}, card.label),
      make("small", {}),
    );
    button.addEventListener("click", () => show(position));
    $("all").append(make("li", {}, button));
  }
}

function refilter() {
  const found = cards.findIndex((_, position) => isListed(position));
  show(isListed(at) || found < 0 ? at : found);
}

const KEYS = {
  r: () => decide("right"),
  w: () => decide("wrong"),
  s: () => decide("skip"),
  u: undo,
  k: () => move(1),
  j: () => move(-1),
  ArrowRight: () => move(1),
  ArrowLeft: () => move(-1),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("select, input, textarea, audio") !== null) return;
  const choice = choices.length <= FEW ? choices.find((_, place) => keyOf(place) === event.key) : undefined;
  if (choice !== undefined) choose(choice);
  else if (Object.hasOwn(KEYS, event.key)) KEYS[event.key]();
  else return;
  event.preventDefault();
}

load();
buildChoices();
buildFilter();
buildList();
for (const button of document.querySelectorAll("[data-verdict]")) {
  button.addEventListener("click", () => decide(button.dataset.verdict));
}
$("undo").addEventListener("click", undo);
$("back").addEventListener("click", () => move(-1));
$("next").addEventListener("click", () => move(1));
$("save").addEventListener("click", save);
for (const filter of [$("of-label"), $("of-verdict")]) filter.addEventListener("change", refilter);
document.addEventListener("keydown", onKey);
show(Math.max(0, nextUndecided()));
document.body.dataset.drawn = "yes";
