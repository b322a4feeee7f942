// Units of length and mass, each as a multiple of its kind's first unit.

const kinds = {
  length: { m: 1, km: 1000, cm: 0.01, mi: 1609.344, ft: 0.3048, in: 0.0254 },
  mass: { kg: 1, g: 0.001, t: 1000, lb: 0.45359237, oz: 0.028349523125 },
};

/** The names of all units, by kind. */
export function units() {
  return Object.fromEntries(Object.entries(kinds).map(([kind, factors]) => [kind, Object.keys(factors)]));
}

/** Converts one value; throws a RangeError in words for the caller. */
export function convert(request) {
  const { value, from, to } = request ?? {};
  if (typeof value !== "number" || !Number.isFinite(value)) throw new RangeError("value must be a number");
  const kind = Object.keys(kinds).find((name) => Object.hasOwn(kinds[name], from));
  if (kind === undefined) throw new RangeError(`there is no unit ${JSON.stringify(from)}`);
  if (!Object.hasOwn(kinds[kind], to)) throw new RangeError(`${from} is a ${kind}, and ${JSON.stringify(to)} is not`);
  const result = (value * kinds[kind][from]) / kinds[kind][to];
  return { value, from, to, result: Number(result.toPrecision(12)) };
}
