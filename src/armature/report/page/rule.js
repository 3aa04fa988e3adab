/* The rule of armature/search/pick.py over the candidates of one plan. Pure; a test holds both to the same order.
 *
 * A point has its estimates ([value, low, high] in ms, by name), rate, gpus, stages, mode, and served: the share of
 * the asked load that it carries. targets: milliseconds by name of estimate. rule: goal ("latency"; "gpus" where a
 * load was asked; "throughput"), and the constants equal and tolerance. */

/** Largest predicted / target, and asked / carried load: at most 1 where all is met. */
function worstRatio(point, targets) {
  const ratios = Object.entries(targets).map(([name, target]) => point[name][0] / target);
  return Math.max(1 / Math.max(point.served, 1e-9), ...ratios);
}

/** How many times rule.equal each cost lies above the least contender's of its group. */
function stepsFromBest(costs, contends, groups, rule) {
  const least = new Map();
  costs.forEach((cost, i) => {
    if (contends[i]) least.set(groups[i], Math.min(cost, least.get(groups[i]) ?? Infinity));
  });
  const overall = Math.min(...costs);
  return costs.map((cost, i) => {
    const best = least.get(groups[i]) ?? overall;
    return Math.floor(Math.log(cost / best) / Math.log1p(rule.equal) + rule.tolerance);
  });
}

/** Indices of the points, best first. */
function bestFirst(points, targets, rule) {
  const one = points.map(() => 0);
  const ratios = points.map((point) => worstRatio(point, targets));
  const misses = stepsFromBest(ratios, points.map(() => true), one, rule);
  const miss = ratios.map((ratio, i) => (ratio > 1 + rule.tolerance ? misses[i] : -1));
  const leastMiss = Math.min(...miss);
  const contends = miss.map((value) => value === leastMiss);
  const gpus = points.map((point) => point.gpus);
  const e2e = points.map((point) => point.e2e_ms[0]);
  let goal;
  if (rule.goal === "latency") {
    goal = [stepsFromBest(e2e, contends, one, rule), gpus];
  } else if (rule.goal === "gpus") {
    goal = [gpus, stepsFromBest(e2e, contends, gpus, rule)];
  } else {
    goal = [stepsFromBest(points.map((point) => 1 / point.rate), contends, one, rule), gpus];
  }
  const disagg = points.map((point) => (point.mode === "disagg" ? 1 : 0));
  const stages = points.map((point) => point.stages);
  const keys = [miss, ...goal, disagg, stages, e2e, points.map((_, i) => i)];
  return points
    .map((_, i) => i)
    .sort((a, b) => {
      for (const key of keys) if (key[a] !== key[b]) return key[a] - key[b];
      return 0;
    });
}

/** Against the targets: {state: "met" | "at risk" | "missed", why: what is missed, shortest words}. */
function judge(point, targets, rule, labels) {
  const why = [];
  let risk = false;
  for (const [name, target] of Object.entries(targets)) {
    const [value, , high] = point[name];
    if (value > target * (1 + rule.tolerance)) why.push(`${labels[name]} ${(value / target).toFixed(2)}×`);
    else if (high > target) risk = true;
  }
  if (point.served < 1) why.push(`load ${Math.floor(point.served * 100)} %`);
  return { state: why.length ? "missed" : risk ? "at risk" : "met", why: why.join(", ") };
}
