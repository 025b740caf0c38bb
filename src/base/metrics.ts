/**
 * Figures for Prometheus: counters, histograms and gauges, written out in the text form 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/). Who counts keeps the series and adds to it; names and labels are only looked
 * at when somebody scrapes.
 */
export class Metrics {
  readonly #families = new Map<string, Family>();

  /** Only grows. Asked for again under its name it is the same. */
  counter(name: string, help: string, labels: readonly string[] = []): Counter {
    return this.#family(name, () => new Counter(name, help, labels));
  }

  /** Observations by upper bound, in ascending order; the unit is the name's. */
  histogram(name: string, help: string, labels: readonly string[], bounds: readonly number[]): Histogram {
    return this.#family(name, () => new Histogram(name, help, labels, bounds));
  }

  /** Goes up and down as things begin and end. */
  level(name: string, help: string, labels: readonly string[] = []): Counter {
    return this.#family(name, () => new Counter(name, help, labels, "gauge"));
  }

  /** What is known anyhow, read when somebody asks. Several may add to one gauge, each its own series. */
  gauge(name: string, help: string, labels: readonly string[], read: ReadGauge, type: Type = "gauge"): void {
    this.#family(name, () => new Gauge(name, help, labels, type)).readers.push(read);
  }

  /** All families whose name passes. */
  text(passes: (name: string) => boolean = () => true): string {
    const lines: string[] = [];
    for (const family of this.#families.values()) {
      if (!passes(family.name)) continue;
      const samples = [...family.samples()];
      if (samples.length === 0) continue;
      lines.push(`# HELP ${family.name} ${family.help}`, `# TYPE ${family.name} ${family.type}`, ...samples);
    }
    return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
  }

  #family<F extends Family>(name: string, make: () => F): F {
    const known = this.#families.get(name) as F | undefined;
    if (known) return known;
    const family = make();
    this.#families.set(name, family);
    return family;
  }
}

export type ReadGauge = () => Iterable<readonly [labels: readonly string[], value: number]>;
type Type = "counter" | "gauge" | "histogram";

/** Series of one family beyond these are counted by nobody: labels must not be able to fill the memory. */
const MAX_SERIES = 5_000;

abstract class Family {
  readonly name: string;
  readonly help: string;
  readonly type: Type;
  readonly labels: readonly string[];

  constructor(name: string, help: string, type: Type, labels: readonly string[]) {
    this.name = name;
    this.help = help;
    this.type = type;
    this.labels = labels;
  }

  abstract samples(): Iterable<string>;

  /** `name{a="x"} 1` */
  protected sample(values: readonly string[], value: number, suffix = "", extra?: string): string {
    const pairs = this.labels.map((label, at) => `${label}="${escape(values[at] ?? "")}"`);
    if (extra !== undefined) pairs.push(extra);
    return `${this.name}${suffix}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${numeral(value)}`;
  }
}

/** A family's series by their labels' values. */
class SeriesMap<S> {
  readonly #make: () => S;
  readonly #known = new Map<string, { readonly values: readonly string[]; readonly series: S }>();

  constructor(make: () => S) {
    this.#make = make;
  }

  get(values: readonly string[]): S {
    const key = values.join("\0");
    const known = this.#known.get(key);
    if (known) return known.series;
    const series = this.#make();
    if (this.#known.size < MAX_SERIES) this.#known.set(key, { values, series });
    return series;
  }

  all() {
    return this.#known.values();
  }
}

/** One number. Add to `value`. */
export class Count {
  value = 0;
}

export class Counter extends Family {
  readonly #series = new SeriesMap(() => new Count());

  constructor(name: string, help: string, labels: readonly string[], type: Type = "counter") {
    super(name, help, type, labels);
  }

  /** To be kept where it is counted often. */
  of(...values: readonly string[]): Count {
    return this.#series.get(values);
  }

  *samples(): Iterable<string> {
    for (const { values, series } of this.#series.all()) yield this.sample(values, series.value);
  }
}

export class Distribution {
  readonly bounds: readonly number[];
  /** Observations at most as large as each bound and larger than the one before; the last has no bound. */
  readonly counts: Uint32Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Uint32Array(bounds.length + 1);
  }

  observe(value: number): void {
    let at = 0;
    while (at < this.bounds.length && value > this.bounds[at]!) at++;
    this.counts[at]!++;
    this.sum += value;
  }
}

export class Histogram extends Family {
  readonly #series: SeriesMap<Distribution>;

  constructor(name: string, help: string, labels: readonly string[], bounds: readonly number[]) {
    super(name, help, "histogram", labels);
    this.#series = new SeriesMap(() => new Distribution(bounds));
  }

  /** To be kept where it is observed often. */
  of(...values: readonly string[]): Distribution {
    return this.#series.get(values);
  }

  *samples(): Iterable<string> {
    for (const { values, series } of this.#series.all()) {
      let count = 0;
      for (const [at, inBucket] of series.counts.entries()) {
        count += inBucket;
        yield this.sample(values, count, "_bucket", `le="${numeral(series.bounds[at] ?? Infinity)}"`);
      }
      yield this.sample(values, series.sum, "_sum");
      yield this.sample(values, count, "_count");
    }
  }
}

class Gauge extends Family {
  readonly readers: ReadGauge[] = [];

  constructor(name: string, help: string, labels: readonly string[], type: Type) {
    super(name, help, type, labels);
  }

  *samples(): Iterable<string> {
    for (const read of this.readers) for (const [values, value] of read()) yield this.sample(values, value);
  }
}

const escape = (value: string): string => value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");

const numeral = (value: number): string => (value === Infinity ? "+Inf" : String(value));

/** Upstream's exponential buckets. */
export function exponentialBounds(start: number, factor: number, count: number): number[] {
  return Array.from({ length: count }, (_, at) => Number((start * factor ** at).toPrecision(12)));
}
