/** A range of sizes; the unit is characters of a text, bytes, items of a list or entries of a map. */
export interface Size {
  readonly min: number;
  readonly max: number;
}

export const unknownSize: Size = { min: 0, max: Infinity };
export const exactly = (size: number): Size => ({ min: size, max: size });
export const union = (a: Size, b: Size): Size => ({ min: Math.min(a.min, b.min), max: Math.max(a.max, b.max) });
export const add = (a: Size, b: Size): Size => ({ min: a.min + b.min, max: a.max + b.max });

/** A product in which nothing times whatever is nothing. */
export const times = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : a * b);
export const multiply = (a: Size, b: Size): Size => ({ min: times(a.min, b.min), max: times(a.max, b.max) });

/** What cel-go charges for going through a text once, and for a regular expression by its length. */
export const TRAVERSAL = 0.1;
export const REGEX = 0.25;
/** Of the largest size. */
export const scaled = ({ max }: Size, factor: number): number => Math.ceil(times(max, factor));
