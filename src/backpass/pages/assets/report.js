"use strict";
/* The report of a run: its facts, section by section. A section that there are no facts for is left out, and told so. */
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const { make, shown, tableOf } = charts;
  const main = document.getElementById("report");
  const TITLES = { accuracy: "accuracy", auc: "AUC", log_loss: "log loss", calibration_error: "calibration error", rmse: "RMSE",
    mae: "mean abs. error", pinball: "pinball loss", r2: "R²", f1: "F1", balanced_accuracy: "balanced accuracy", youden: "Youden's J",
    interval_coverage: "inside the interval", interval_width: "width of the interval", rmse_in_deviations: "RMSE in standard deviations",
    relative_error: "error, in parts of that of one answer for all",
    loss: "training", validation_loss: "validation", seconds: "seconds", rows_per_second: "rows a second" };
  const PARTS = new Set(["accuracy", "auc", "log_loss", "calibration_error", "r2", "f1", "balanced_accuracy", "youden", "interval_coverage"]);
  const OF_STATE = { finished: "finished", interrupted: "interrupted, can be resumed", training: "broken off, or still training" };
  const MOST_LABELS = 40;

  const TARGETS = ((facts.data && facts.data.heads) || []).map((each) => each.target);

  const title = (name) => TITLES[name] || name;
  const percent = (part) => `${(100 * part).toFixed(1)} %`;
  const several = (count, what) => `${shown(count)} ${what}${count === 1 ? "" : "s"}`;

  function section(name, id) {
    const host = make("section", [make("h2", name)], { id });
    main.append(host);
    document.getElementById("sections").append(make("a", name, { href: `#${id}` }));
    return host;
  }

  const say = (host, text, kind) => host.append(make("p", text, { class: kind || null }));

  function list(host, pairs) {
    const kept = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
    host.append(make("dl", kept.flatMap(([name, value]) =>
      [make("dt", name), value instanceof Node ? make("dd", [value]) : make("dd", shown(value))])));
  }

  function folded(host, name, content) {
    host.append(make("details", [make("summary", name), content]));
  }

  const pair = (host) => {
    const place = make("div", undefined, { class: "pair" });
    host.append(place);
    return place;
  };

  function amount(value, margin, part) {
    if (value === null || value === undefined) return "–";
    const lacks = margin === null || margin === undefined || (part && margin < 0.0005);
    const places = lacks || part || !(margin > 0) ? null : 1 - Math.floor(Math.log10(margin));
    if (places !== null && places >= 0 && places <= 9) return `${value.toFixed(places)} ±\u00a0${margin.toFixed(places)}`;
    const told = part ? value.toFixed(3).replace(/^-(0\.0+)$/, "$1") : shown(value, 4);
    return lacks ? told : `${told} ±\u00a0${part ? margin.toFixed(3) : shown(margin, 2)}`;
  }

  const isPart = (name) => PARTS.has(name) || name.startsWith("r2_");

  // Of several targets, which have units of their own, R² can be told side by side.
  function toldNames(of) {
    const every = Object.keys(of[0].metrics), own = every.filter((name) => name.startsWith("r2_"));
    return own.length ? own : every.filter((name) => !name.startsWith("below_") && of.every((each) => name in each.metrics));
  }

  function scoreTable(of) {
    const names = toldNames(of);
    const rows = of.map((each) => [each.label, ...names.map((name) => amount(each.metrics[name], each.margins[name], isPart(name)))]);
    const heads = ["", ...names.map((name) => (name.startsWith("r2_") ? `R² ${name.slice(3)}` : title(name)))];
    return tableOf(heads, rows, { class: "score" });
  }

  /* Of the scores of several targets, of kinds of their own, those of one. */
  function ofTarget(score, target) {
    const of = (values) => Object.fromEntries(Object.keys(TITLES).filter((name) => `${name}_${target}` in values)
      .map((name) => [name, values[`${name}_${target}`]]));
    return { label: score.label, metrics: of(score.metrics), margins: of(score.margins) };
  }

  function eachHead(of, tell) {
    for (const target of TARGETS) tell(of.map((each) => ofTarget(each, target)), target);
    if (!TARGETS.length) tell(of, "");
  }

  function scores() {
    const host = section("Scores", "scores");
    if (!facts.scores) return say(host, `There is no score: ${facts.absent}.`);
    say(host, `On the ${facts.scores.on} rows${facts.held_out ? `, ${shown(facts.held_out.of)} of them` : ""}. ` +
      "± is half of a 95 % interval: what chance may add or take with so many rows.", "faint");
    eachHead(facts.scores.of, (of, target) => {
      if (target) host.append(make("h3", target));
      host.append(scoreTable(of));
      const every = Object.keys(of[0].metrics), names = toldNames(of);
      const more = every.filter((name) => !names.includes(name) && !name.startsWith("interval_") && !name.startsWith("below_"));
      if (more.length && !names.some((name) => name.startsWith("r2_"))) list(host, more.map((name) =>
        [title(name), amount(of[0].metrics[name], null, PARTS.has(name))]));
    });
    if (facts.scores.on === "validation") say(host, "These rows told when to stop, too: no others were held out to test.");
  }

  function findings() {
    if (!facts.findings) return;
    const host = section("What the doctor found", "findings");
    if (!facts.findings.length) say(host, "Nothing: no rule has anything to say.");
    for (const each of facts.findings) {
      host.append(make("div", [make("strong", each.name), make("p", each.evidence), make("p", `Try: ${each.advice}`)], { class: "finding" }));
    }
  }

  function folds() {
    const told = facts.folds;
    if (!told) return;
    const host = section("Cross-validation", "folds");
    const whole = told.each.filter((fold) => !fold.failed);
    const count = whole.length < told.each.length ? `${whole.length} of ${told.each.length}` : told.each.length;
    say(host, told.scores.length ? `The means of ${count} folds; ± is half of a 95 % interval, which counts that they share rows.`
      : "No mean of folds: of fewer than two there are scores.", "faint");
    for (const [place, fold] of told.each.entries()) if (fold.failed) say(host, `Fold ${place + 1} failed: ${fold.failed}`);
    if (!told.scores.length) return;
    eachHead(told.scores, (of, target) => {
      if (target) host.append(make("h3", target));
      host.append(scoreTable(of));
      const own = whole.map((fold) => fold.scores[0]).map((score) => (target ? ofTarget({ ...score, margins: {} }, target) : score).metrics);
      list(host, toldNames(of).filter((name) => own.every((each) => typeof each[name] === "number")).map((name) => {
        const each = own.map((metrics) => metrics[name]);
        return [`${title(name)}, from fold to fold`,
          `${amount(Math.min(...each), null, isPart(name))} to ${amount(Math.max(...each), null, isPart(name))}`];
      }));
    });
  }

  function course() {
    const host = section("Training", "training"), told = facts.training, history = told.history;
    list(host, [
      ["epochs", told.epochs], ["steps", told.steps], ["weights kept", told.kept_epoch ? `of epoch ${shown(told.kept_epoch)}` : ""],
      ["ended", told.stopped],
      ["then", told.refit ? `trained again on all ${shown(told.refit.rows)} rows for ${shown(told.refit.epochs)} epochs: that is the model, and what is shown here is of the network before`
        : told.refit_failed ? `not trained again on all rows (${told.refit_failed}): the model is the one that is shown here` : ""],
      ["time", told.seconds ? `${shown(told.seconds)} s` : ""],
    ]);
    if (!told.epochs) return say(host, "No whole epoch was saved.");
    const marks = told.kept_epoch ? [{ x: told.kept_epoch, label: "kept" }] : [];
    const x = { label: "epoch", values: history.epoch, whole: true };
    const series = ["loss", "validation_loss"].filter((name) => history[name]).map((name) => ({
      label: title(name), values: history[name], marks: history.epoch.length < 3 }));
    const ends = series.map((each) => `${each.label} from ${shown(each.values[0])} to ${shown(each.values[each.values.length - 1])}`);
    const network = facts.network || {};
    const whose = network.members > 1 ? ` Training is the mean of the losses that the ${network.members} networks have each by itself; validation is ` +
      `the loss of their common answer${network.folds ? ", for each row that of those that left it out" : ""}, which is the lower one.` : "";
    charts.lines(host, { title: "Loss by epoch", told: `${ends.join(", ")}. With dropout, training is measured with nodes left out.${whose}`,
      x, y: { label: "loss", log: false }, series, marks });
    const others = Object.keys(history).filter((name) => !["epoch", "loss", "validation_loss", "seconds", "rows_per_second"].includes(name));
    for (const name of others) {
      charts.lines(host, { title: title(name), x, y: { label: title(name) }, series: [{ label: title(name), values: history[name] }], marks });
    }
  }

  function importance() {
    const told = facts.importance;
    if (!told) return;
    const host = section("Which columns matter", "importance"), metric = title(told.metric);
    const items = told.columns.slice(0, 50).map((each) => ({ name: each.column, value: each.rise, spread: each.spread }));
    const first = items[0];
    const best = first && first.value > (first.spread || 0) ? ` Most: ${first.name}.` : " None surely does.";
    charts.bars(host, { title: `Rise of ${metric} when a column is shuffled`, items,
      heads: ["column", "", `rise of ${metric}`, "95 %"],
      told: `Over ${told.repeats} repeats on ${several(told.rows, "row")} that were held out. The line is the 95 % interval, by the chance of ` +
        `shuffling and of the rows: where it crosses 0, the column may as well not be there.${best} What two columns both tell counts for neither.` });
    const rest = told.columns.length - items.length;
    if (rest) say(host, `${several(rest, "more column")} matter less.`, "faint");
    if (told.passed_over) say(host, `${several(told.passed_over, "column")} of less effect, to first order, were not tried: there are too many.`, "faint");
  }

  function answers() {
    const heads = facts.heads || [facts];
    for (const [place, each] of heads.entries()) {
      if (!each.confusion && !each.residuals) continue;
      const host = each.target === undefined ? section("Answers", "answers") : section(`Answers: ${each.target}`, `answers-${place + 1}`);
      if (each.confusion) classes(host, each);
      if (each.residuals) amounts(host, each.residuals);
    }
    if (facts.absent && facts.scores) {
      const host = section("Held-out rows", "answers");
      say(host, `What the network answers for single rows is not shown here: ${facts.absent}.`);
    }
  }

  function classes(host, head) {
    const { classes: names, counts } = head.confusion;
    const right = counts.reduce((sum, row, i) => sum + row[i], 0), all = counts.flat().reduce((a, b) => a + b, 0);
    const wrong = counts.flatMap((row, i) => row.map((count, j) => ({ i, j, count }))).filter((each) => each.i !== each.j && each.count);
    wrong.sort((a, b) => b.count - a.count);
    const worst = wrong.length ? ` Most often: ${names[wrong[0].i]}, answered as ${names[wrong[0].j]}, ${several(wrong[0].count, "time")}.` : "";
    charts.matrix(host, { title: "Confusion matrix", corner: "right \\ answered", rows: names, columns: names, values: counts, square: true,
      byRow: true, bare: names.length > MOST_LABELS, told: `Of ${several(all, "row")} ${shown(all - right)} are answered wrongly.${worst}` });
    const cells = names.map((name, i) => {
      const own = counts[i].reduce((a, b) => a + b, 0), given = counts.reduce((sum, row) => sum + row[i], 0);
      return [name, own, own ? percent(counts[i][i] / own) : "–", given ? percent(counts[i][i] / given) : "–"];
    });
    folded(host, "By class", tableOf(["class", "rows", "of these found (recall)", "of its answers right (precision)"], cells));
    const place = pair(host), curves = head.curves;
    if (curves) {
      const yes = names[1], { roc, precision_recall: pr } = curves;
      charts.lines(place, { title: "ROC", told: `Area ${shown(curves.auc, 4)}: how well probabilities of "${yes}" put the two classes in order; 0.5 is chance.`,
        x: { label: "false positives, of all negative", values: roc.false_positive_rate, range: [0, 1] },
        y: { label: "true positives, of all positive", range: [0, 1.02] }, guides: [{ from: [0, 0], to: [1, 1] }],
        series: [{ label: "true positives", values: roc.true_positive_rate }] });
      charts.lines(place, { title: "Precision and recall", told: `Average precision ${shown(curves.average_precision, 4)}; by chance ${shown(curves.share, 3)}, the share of "${yes}".`,
        x: { label: "recall", values: pr.recall, range: [0, 1] }, y: { label: "precision", range: [0, 1.02] },
        guides: [{ y: curves.share, label: "chance" }], series: [{ label: "precision", values: pr.precision }] });
    }
    calibration(host, place, head.calibration);
  }

  function calibration(host, place, told) {
    const bins = told.bins;
    if (!bins.length) return;
    const made = told.temperature === 1 ? "" : ` The temperature that held-out rows asked for is ${shown(told.temperature, 3)}.`;
    charts.lines(place, { title: "Reliability", numbers: false, told: `Calibration error ${shown(told.error, 3)}: how far, in the mean, the probability of the answer is from how ` +
        `often it is right. On the dashed line they are equal; the band is what chance may add or take (95 %).${made}`,
      x: { label: "probability of the answer", values: bins.map((bin) => bin.sure), range: [0, 1] }, y: { label: "part that is right", range: [0, 1.02] },
      guides: [{ from: [0, 0], to: [1, 1] }], bands: [{ series: [2, 3] }],
      series: [{ label: "right", values: bins.map((bin) => bin.right), marks: true },
        { label: "at most", values: bins.map((bin) => Math.min(1, bin.right + bin.margin)), width: 0.5, dash: [], colour: "series-1" },
        { label: "at least", values: bins.map((bin) => Math.max(0, bin.right - bin.margin)), width: 0.5, dash: [], colour: "series-1" }] });
    folded(host, "Rows by probability", tableOf(["probability", "rows", "mean probability", "right"],
      bins.map((bin) => [`${bin.low.toFixed(2)} to ${bin.high.toFixed(2)}`, bin.rows, bin.sure, bin.right])));
  }

  function amounts(host, told) {
    for (const each of told.targets) {
      const known = each.predicted.map((value, i) => [value, each.actual[i]]).filter(([a, b]) => a !== null && b !== null);
      const place = pair(host), all = known.flat(), low = Math.min(...all), high = Math.max(...all), of = told.targets.length > 1 ? ` of ${each.name}` : "";
      charts.scatter(place, { title: `Answers${of} beside what was right`, told: `${several(known.length, "row")}; on the dashed line the answer is right.`,
        x: { label: "answer" }, y: { label: "right" }, guides: [{ from: [low, low], to: [high, high] }], legend: false,
        series: [{ label: "right", x: known.map(([a]) => a), y: known.map(([, b]) => b), size: known.length > 300 ? 4 : 6 }] });
      charts.scatter(place, { title: `Errors${of} by answer`, told: "Answer less what was right. A pattern here is something that the network has not learned.",
        x: { label: "answer" }, y: { label: "error" }, guides: [{ y: 0 }], legend: false,
        series: [{ label: "error", x: known.map(([a]) => a), y: known.map(([a, b]) => a - b), size: known.length > 300 ? 4 : 6 }] });
      const q = each.quantiles;
      charts.histogram(place, { title: `How errors${of} are spread`, told: `In the mean ${shown(each.mean_error, 3)}; the middle half from ${shown(q["0.25"], 3)} to ` +
          `${shown(q["0.75"], 3)}, 9 in 10 from ${shown(q["0.05"], 3)} to ${shown(q["0.95"], 3)}.`,
        x: { label: "error" }, y: { label: "rows" }, edges: each.histogram.edges, legend: false, series: [{ label: "rows", counts: each.histogram.counts }] });
    }
    if (told.quantiles) {
      list(host, [["the answer is", "q0.5" in told.quantiles ? "q0.5, the median" : "the median, as the quantiles around it have it"],
        ...Object.entries(told.quantiles).map(([name, part]) => [`of these rows below ${name}`, percent(part)])]);
    }
    if (told.interval) {
      list(host, [["intervals are to hold", percent(told.interval.level)],
        ...Object.entries(told.interval).filter(([name]) => name !== "level").map(([name, value]) => [
          name.replace(/^interval_coverage_?/, "of these rows inside ").replace(/^interval_width_?/, "mean width "),
          name.startsWith("interval_coverage") ? percent(value) : value])]);
    }
  }

  function data() {
    const host = section("Data", "data"), told = facts.data;
    if (!told) return say(host, `The table is not at hand, and the run was broken off before it told what it is: ${facts.absent}.`);
    const split = told.split || {};
    const parts = ["train", "validation", "calibration", "test"].filter((name) => split[name]).map((name) => `${shown(split[name])} ${name}`);
    const folds = facts.network && facts.network.folds ? `; each network leaves out 1 in ${facts.network.folds} to validate` : "";
    list(host, [["table", told.table], ["rows", told.rows], ["columns", told.columns], ["target", told.targets.join(", ")],
      ["task", `${told.task}${told.target_kind && told.target_kind !== "number" ? `, of a ${told.target_kind}` : ""}`], ["rows used", parts.join(", ") + folds]]);
    for (const each of told.heads || [told]) {
      const shares = Object.entries(each.classes || {}).sort((a, b) => b[1] - a[1]), of = each.target === undefined ? "" : ` of ${each.target}`;
      if (shares.length) say(host, `Classes${of}: ${shares.slice(0, 12).map(([name, part]) => `${name} ${percent(part)}`).join(", ")}` +
        `${shares.length > 12 ? ` and ${shares.length - 12} more` : ""}.`);
    }
    for (const note of [...(told.notes || []), ...(told.notes_of_reading || [])]) say(host, `Note: ${note}`);
    const rows = told.inputs.map((each) => [each.name, each.kind, percent(each.missing), each.distinct]);
    host.append(make("h3", `Inputs (${shown(told.inputs.length + (told.inputs_cut || 0))})`), tableOf(["column", "kind", "missing", "different values"], rows));
    if (told.inputs_cut) say(host, `and ${several(told.inputs_cut, "more column")}`, "faint");
    const left = Object.entries(told.left_out);
    if (left.length) host.append(make("h3", `Left out (${shown(left.length + (told.left_out_cut || 0))})`), tableOf(["column", "why"], left));
    if (told.left_out_cut) say(host, `and ${several(told.left_out_cut, "more column")}`, "faint");
  }

  function network() {
    const told = facts.network;
    if (!told) return;
    const host = section("Network", "network");
    list(host, [["networks", told.members > 1 ? `${told.members} side by side, answers are the mean of theirs` : ""],
      ["shares", Object.entries(told.blend).map(([kind, share]) => `${kind} ${Math.round(100 * share)} %`).join(", ")], ["parameters", told.parameters],
      ["loss", told.loss]]);
    host.append(tableOf(["layer", "kind", "output", "parameters"], told.layers.map((each) => [
      each.name.replace(/^ +/, (indent) => "\u00a0".repeat(2 * indent.length)), each.kind, each.output, each.parameters])));
    if (told.optimizer) folded(host, "Optimizer", make("p", told.optimizer));
    const recipe = Object.entries(told.recipe);
    if (recipe.length) folded(host, "Recipe", tableOf(["choice", "value"], recipe.map(([name, value]) =>
      [name.replaceAll("_", " "), Array.isArray(value) ? value.join(", ") : String(value)])));
  }

  function again() {
    const host = section("Do it again", "reproduce"), told = facts.reproduce;
    const code = (text) => make("pre", text);
    list(host, [["command", told.command ? code(told.command) : ""], ["Python", code(told.call)], ["compare", told.check ? code(told.check) : ""]]);
    if (told.timed) say(host, "It was ended by the clock: what fits into that time depends on the machine, and is not the same twice.");
    const sums = Object.entries(told.sha256).filter(([, sum]) => sum).map(([role, sum]) => [`sha256 of ${role === "table" ? "the table" : `the ${role} table`}`, sum]);
    list(host, [["seed", told.seed], ...sums, ["sha256 of the weights", told.weights],
      ["versions", Object.entries(told.versions).map(([name, text]) => `${name} ${text}`).join(", ")],
      ["machine", [told.machine.processor, told.machine.system, told.machine.vector_bits ? `${told.machine.vector_bits} bit vectors` : ""].filter(Boolean).join(", ")]]);
  }

  const { run } = facts, rows = facts.data ? `${several(facts.data.rows, "row")}, ` : "";
  document.getElementById("about").textContent = `Run ${run.name}: ${rows}${several(facts.training.epochs, "epoch")}, ${OF_STATE[run.state] || run.state}`;
  for (const part of [scores, folds, findings, course, importance, answers, data, network, again]) part();
  charts.themes(document.getElementById("theme"));
})();
