/* The playground: a table, settings, training, decision regions, and what can be taken along. */
import { ask, button, during, make, place, save, send, shown, tell } from "./dom.js";

const FIELDS = [
  ["hidden", "Hidden layers", "text", "Nodes of each, as 8,4; 0 for none"],
  ["activation", "Activation of layer 1", "activations"],
  ["loss", "Loss", "losses"],
  ["optimizer", "Optimizer", "optimizers"],
  ["learning_rate", "Learning rate", "number", "", "any"],
  ["weight_decay", "Weight decay", "number", "", "any"],
  ["dropout", "Dropout", "number", "", "any"],
  ["batch_size", "Rows a step", "number", "", "1"],
  ["epochs", "Epochs", "number", "", "1"],
  ["seed", "Seed", "number", "", "1"],
];
const MOST_CHOICES = 8; // hidden layers that have a choice of their own
const NOTHING = "Train first";
const MARKS = ["circle", "square", "triangle", "diamond"];

export function playground(panel, page) {
  let about = null, drawn_ = 0, busy = false, waits = false, ready = Promise.resolve();
  const inputs = {};
  const table = make("p", "", { role: "status" }), trouble = make("p", "", { class: "minus", role: "alert", hidden: true });
  const target = make("select", null, { id: "target", change: () => choose({ target: target.value }) });
  const file = make("input", null, { type: "file", id: "file", accept: ".csv,.tsv,.jsonl,.parquet,.arrow,.feather,.gz,text/csv" });
  const form = make("div", null, { class: "form" });
  const drop = make("div", [make("label", ["Your own table: drop it here, or ", file]), table], { class: "drop" });
  const across = make("select", null, { id: "across", change: regions }), up = make("select", null, { id: "up", change: regions });
  const canvas = make("canvas", null, { class: "regions", width: 480, height: 480, role: "img", tabindex: 0, id: "regions" });
  const legend = make("p", "", { class: "faint", id: "legend" });
  const taken = make("div");
  const controls = make("fieldset", [
    make("section", [make("h2", "The table"), drop, make("div", [make("label", ["Predict ", target])], { class: "form" }),
      make("h2", "The network"), form, trouble,
      make("div", [button("Train", () => train(), { id: "train" }), button("Train one step", () => train(1), { id: "train-step" }), button("As in the story", story, { id: "story-preset", title: "The network of docs/story.md: 3 hidden sigmoids, one flower a step" }), button("See how a weight changed", () => page.show("network", { view: "back" }), { id: "see-network" }), button("See the curves", () => page.show("curves"))], { class: "row" })]),
    make("section", [make("h2", "Take it along"),
      make("div", [button("Save the model", model, { id: "save-model", disabled: true, title: NOTHING }), button("Python script", script, { id: "script", disabled: true, title: NOTHING }), button("Link to these settings", link, { id: "link" })], { class: "row" }), taken])], { class: "stack", disabled: true }); // until the table is known
  panel.append(make("div", [controls,
    make("section", [make("h2", "Decision regions"), make("p", "What the network answers over two columns, the others being as they are in the middle of the table; marks are rows.", { class: "faint" }),
      make("div", [make("label", ["Across ", across]), make("label", ["Up ", up])], { class: "row" }), canvas, legend]),
  ], { class: "aside" }));

  for (const [name, title, kind, hint, step] of FIELDS) {
    const input = ["text", "number"].includes(kind) ? make("input", null, { type: kind, step, min: kind === "number" ? 0 : null, title: hint || null }) : make("select");
    input.id = `set-${name}`;
    input.addEventListener("change", () => remember());
    inputs[name] = input;
    form.append(make("label", [title, input]));
  }
  inputs.hidden.addEventListener("input", () => ofLayers());

  /* A choice of activation for each hidden layer; further layers begin with that of the one before. */
  function ofLayers(wanted) {
    const count = Math.min(MOST_CHOICES, Math.max(1, hidden().length));
    const before = wanted || chosenActivations();
    for (const each of form.querySelectorAll(".further")) each.remove();
    let last = inputs.activation;
    if (wanted && wanted[0]) last.value = wanted[0];
    for (let layer = 2; layer <= count; layer += 1) {
      const select = make("select", (about ? about.activations : []).map((each) => make("option", each)), { id: `set-activation-${layer}`, change: remember });
      select.value = before[layer - 1] || last.value;
      const label = make("label", [`Activation of layer ${layer}`, select], { class: "further" });
      last.parentElement.after(label);
      last = select;
    }
  }
  function chosenActivations() { return [inputs.activation, ...form.querySelectorAll(".further select")].map((each) => each.value); }
  /* The numbers of nodes; what is none stays as it was typed, for the server to name. */
  function hidden() {
    const texts = inputs.hidden.value.split(",").map((text) => text.trim());
    return texts.length === 1 && ["", "0"].includes(texts[0]) ? [] : texts.map((text) => (/^\d+$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : text));
  }
  function remember() { place.write({ settings: JSON.stringify(settings()) }); }
  file.addEventListener("change", () => file.files[0] && take(file.files[0]));
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]); });

  /* Options of the command are called by the names that they have here. */
  function failed(error) {
    const named = [];
    trouble.textContent = !error ? "" : error.message.replace(/(?:--|recipe\.)([a-z_-]+)/g, (option, name) => {
      const field = FIELDS.find(([each]) => each === name.replaceAll("-", "_"));
      if (field) named.push(field[0]);
      return field ? field[1] : option;
    });
    trouble.hidden = !error;
    for (const [name] of FIELDS) inputs[name].setAttribute("aria-invalid", String(named.includes(name)));
  }

  /* Another table or target, one after another; who trains waits for the last. */
  function next(change) {
    ready = ready.then(change).catch(failed);
    return ready;
  }

  /* The network of docs/story.md, on iris. */
  function story() {
    failed(null);
    return next(async () => {
      const found = await tell("sample", {});
      set(found, found.story);
      remember();
      failed(null);
      taken.replaceChildren(make("p", "As in docs/story.md: 3 hidden sigmoids, squared errors, plain gradient descent, one flower a step. Otherwise than there the inputs are scaled, the outputs are probabilities, the learning rate falls at the end, and some flowers are held out: its numbers are of its own."));
    });
  }

  function take(given) {
    failed(null);
    return next(async () => {
      if (about && given.size > about.largest) throw new Error(`${given.name} has ${given.size.toLocaleString("en-US")} bytes, the playground takes ${about.largest.toLocaleString("en-US")}: train on it with backpass train`);
      const found = await send(`take?${new URLSearchParams({ name: given.name })}`, given);
      place.write({ settings: null });
      set(found, {});
    });
  }

  function choose(settings_) {
    return next(async () => set(await ask("table", { target: settings_.target }), settings_));
  }

  function set(found, given) {
    about = found;
    controls.disabled = false;
    table.textContent = `${found.name}: ${found.rows.toLocaleString("en-US")} rows, ${found.columns.length} columns`;
    target.replaceChildren(...found.columns.map((name) => make("option", name)));
    target.value = found.target;
    failed(found.error ? new Error(found.error) : given.table && given.table !== found.name ? new Error(`These settings are for ${given.table}: drop it in, too`) : null);
    if (found.error) return;
    const start = { ...found.start, ...given };
    for (const [name, , kind] of FIELDS) {
      if (found[kind]) inputs[name].replaceChildren(...found[kind].map((each) => make("option", each)));
      inputs[name].value = name === "hidden" ? [].concat(start.hidden).join(",") || "0" : name === "activation" ? start.activation.split(",")[0] : String(start[name]);
    }
    ofLayers(String(start.activation).split(","));
    for (const [select, name] of [[across, found.telling[0]], [up, found.telling[1] || found.telling[0]]]) {
      select.replaceChildren(...found.numbers.map((each) => make("option", each)));
      if (name) select.value = name;
    }
  }

  function settings() {
    const each = chosenActivations(), activation = each.every((name) => name === each[0]) || hidden().length !== each.length ? each[0] : each.join(",");
    const number = (name) => (inputs[name].value === "" ? null : Number(inputs[name].value));
    return { target: target.value, hidden: hidden(), activation, loss: inputs.loss.value, optimizer: inputs.optimizer.value,
      ...Object.fromEntries(["learning_rate", "weight_decay", "dropout", "batch_size", "epochs", "seed"].map((name) => [name, number(name)])) };
  }

  async function train(steps) {
    await ready;
    failed(null);
    page.say("");
    const wrong = FIELDS.find(([name]) => inputs[name].validity.badInput);
    if (wrong) return failed(new Error(`--${wrong[0].replaceAll("_", "-")} is no number: expected one`));
    const chosen = settings();
    place.write({ settings: JSON.stringify({ ...chosen, table: about.name }), step: null, row: null, held: null });
    try {
      await tell("train", { settings: chosen, steps: steps || null });
    } catch (error) {
      failed(error);
    }
    return undefined;
  }

  async function regions() {
    const trained = page.run() && page.run().steps;
    for (const id of ["save-model", "script"]) {
      const each = panel.querySelector(`#${id}`);
      each.disabled = !trained;
      each.title = trained ? "" : NOTHING;
    }
    if (!trained) {
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      canvas.removeAttribute("data-told");
      canvas.setAttribute("aria-label", "Decision regions: nothing is trained yet");
    }
    if (!trained || !across.value || panel.hidden) {
      legend.textContent = about && !about.numbers.length ? "The table has no two columns of numbers." : "They appear when a network is trained.";
      return;
    }
    if (busy) { waits = true; return; }
    busy = true;
    try {
      const began = performance.now();
      const key = page.run().key, told = await ask("regions", { x: across.value, y: up.value });
      if (page.run() && page.run().key === key) paint(told);
      regions.wait = Math.max(700, 50 * (performance.now() - began)); // a fiftieth of the time, at most
    } catch (error) {
      legend.textContent = error.message;
    }
    drawn_ = performance.now();
    busy = false;
    if (waits) { waits = false; regions(); }
  }

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const probe = make("span");
    document.body.append(probe);
    const found = [1, 2, 3, 4, 5, 6].map((k) => { probe.style.color = `var(--series-${k})`; return getComputedStyle(probe).color.match(/[\d.]+/g).map(Number); });
    probe.style.color = "var(--card)";
    const paper = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
    probe.style.color = "var(--ink)";
    const ink = getComputedStyle(probe).color;
    probe.remove();
    return { found, paper, ink, style };
  }

  function paint(told) {
    const { found, paper, ink } = colours(), context = canvas.getContext("2d"), side = told.xs.length;
    const low = Math.min(...(told.values || [0])), high = Math.max(...(told.values || [1])), cell = canvas.width / side;
    const mix = (tint, part) => `rgb(${[0, 1, 2].map((c) => Math.round(paper[c] + (tint[c] - paper[c]) * part)).join(",")})`;
    const at = (value) => (told.classes ? [found[value % 6], 1] : [found[0], (value - low) / (high - low || 1)]);
    for (let k = 0; k < side * side; k += 1) {
      const [tint, part] = told.classes ? [found[told.answers[k] % 6], 0.1 + 0.5 * told.sure[k]] : [found[0], 0.85 * at(told.values[k])[1]];
      context.fillStyle = mix(tint, part);
      context.fillRect((k % side) * cell, canvas.height - (Math.floor(k / side) + 1) * cell, cell + 1, cell + 1);
    }
    const [px, py, kind] = told.points, [x0, x1] = [told.xs[0], told.xs.at(-1)], [y0, y1] = [told.ys[0], told.ys.at(-1)];
    px.forEach((x, i) => {
      const [tint, part] = told.classes ? [found[kind[i] % 6], 1] : [found[0], Math.max(0, Math.min(1, at(kind[i])[1])) * 0.85];
      context.fillStyle = mix(tint, part);
      context.strokeStyle = ink;
      mark(context, told.classes ? MARKS[kind[i] % 4] : "circle", ((x - x0) / (x1 - x0)) * canvas.width, canvas.height - ((py[i] - y0) / (y1 - y0)) * canvas.height);
    });
    const words = told.classes ? told.classes.map((name, k) => `${name}: ${MARKS[k % 4]}`).join(", ") : `from ${shown(low, 4)} (without colour) to ${shown(high, 4)} (in full colour)`;
    legend.textContent = `${told.target} over ${told.x} from ${shown(x0, 4)} to ${shown(x1, 4)}, ${told.y} from ${shown(y0, 4)} to ${shown(y1, 4)}: ${words}.`;
    const shares = told.classes ? told.classes.map((name, k) => `${name} ${Math.round((100 * told.answers.filter((each) => each === k).length) / told.answers.length)} %`).join(", ") : words;
    canvas.setAttribute("aria-label", `Decision regions over ${told.x} and ${told.y}: ${shares}`);
    canvas.dataset.told = shares;
  }

  function mark(context, kind, x, y) {
    context.beginPath();
    if (kind === "circle") context.arc(x, y, 4, 0, 7);
    else if (kind === "square") context.rect(x - 3.5, y - 3.5, 7, 7);
    else if (kind === "triangle") for (const [dx, dy] of [[0, -5], [4.5, 4], [-4.5, 4]]) context.lineTo(x + dx, y + dy);
    else for (const [dx, dy] of [[0, -5], [5, 0], [0, 5], [-5, 0]]) context.lineTo(x + dx, y + dy);
    context.closePath();
    context.fill();
    context.stroke();
  }

  async function model() {
    const found = await during(taken, "…", () => ask("model"));
    if (!found) return;
    save("model.safetensors", await found.blob());
    taken.replaceChildren(make("p", "model.safetensors is saved: backpass predict model.safetensors TABLE"));
  }

  async function script() {
    const found = await during(taken, "…", () => ask("script"));
    if (!found) return;
    taken.replaceChildren(make("p", "It trains the network that was trained here, when it finds the table; all of its epochs, to the same bits:"), make("pre", found.script, { class: "script", tabindex: 0 }),
      make("div", [button("Copy", () => copy(found.script)), button("Save as train.py", () => save("train.py", found.script))], { class: "row" }));
  }

  function link() {
    place.write({ settings: JSON.stringify({ ...settings(), table: about.name }), tab: "build" });
    taken.replaceChildren(make("p", ["Behind its # are the settings; they also go behind the address of another playground: ", make("a", location.href, { href: location.href, id: "settings-link" })]), button("Copy", () => copy(location.href)));
  }

  async function copy(text) {
    try { await navigator.clipboard.writeText(text); } catch { /* no clipboard: the text stands there to be marked */ }
  }

  async function begin() {
    let given = {};
    try { given = JSON.parse(place.read().settings || "{}") || {}; } catch { /* no settings of ours */ }
    await choose(given);
    if (place.read().preset === "story") {
      place.write({ preset: null });
      await story();
    }
    if (page.run()) regions();
  }
  begin();

  let seen = "";
  return {
    show() { if (about) regions(); },
    news() {
      const run = page.run(), now = run ? `${run.key} ${run.steps} ${run.state}` : "";
      if (now === seen) {
        if (run && run.state === "training" && performance.now() - drawn_ > (regions.wait || 700) && !panel.hidden) { drawn_ = performance.now(); page.steer("save"); }
        return;
      }
      seen = now;
      regions();
    },
    theme: regions,
  };
}
