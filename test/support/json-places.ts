export type Json = null | number | string | Json[] | { [name: string]: Json };
export type Place = readonly (string | number)[];

/** Every place of a value, containers before what they hold. */
export function* placesOf(value: Json, place: Place = []): Generator<Place> {
  yield place;
  if (typeof value !== 'object' || value === null) return;
  for (const [name, entry] of Object.entries(value)) {
    yield* placesOf(entry, [...place, Array.isArray(value) ? Number(name) : name]);
  }
}

/** A copy with another value at a place; undefined removes it. */
export function changedAt(whole: Json, place: Place, change: (value: Json) => Json | undefined): Json {
  const copy = structuredClone(whole);
  const last = place.at(-1);
  if (last === undefined) return change(copy) ?? null;
  const holder = place.slice(0, -1).reduce<Json>((value, name) => (value as { [name: string]: Json })[name]!, copy);
  const value = change((holder as { [name: string]: Json })[last]!);
  if (value !== undefined) (holder as { [name: string]: Json })[last] = value;
  else if (Array.isArray(holder)) holder.splice(Number(last), 1);
  else delete (holder as { [name: string]: Json })[last];
  return copy;
}

/** With one more field, where the value is an object. */
export function withField(value: Json, name: string): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value, [name]: 1 } : value;
}

/** `state.averages[2].pushes` */
export function nameOf(place: Place): string {
  const name = place.map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`)).join('');
  return name.replace(/^\./, '');
}
