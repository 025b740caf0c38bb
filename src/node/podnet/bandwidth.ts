import { invalidArgument, parseQuantity } from "../../base/index.ts";

/** Bytes a second, seen from the Pod; undefined: no limit. */
export interface Bandwidth {
  readonly ingress?: number;
  readonly egress?: number;
}

const ANNOTATIONS = { ingress: "kubernetes.io/ingress-bandwidth", egress: "kubernetes.io/egress-bandwidth" } as const;
const MIN_BITS = 1e3;
const MAX_BITS = 1e15;

/**
 * The limits that a Pod's annotations ask for, in bits a second with the suffixes of quantities (`10M`); 1k to 1P
 * (https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/network-plugins/#support-traffic-shaping). Throws invalidArgument.
 */
export function bandwidthOf(annotations: Readonly<Record<string, string>> = {}): Bandwidth {
  const limit = (direction: keyof typeof ANNOTATIONS) => {
    const name = ANNOTATIONS[direction];
    const text = annotations[name];
    if (text === undefined) return {};
    const bits = parseQuantity(text);
    if (!(bits >= MIN_BITS && bits <= MAX_BITS))
      throw invalidArgument(`annotation ${name}: ${text} is not between 1k and 1P bits a second`);
    return { [direction]: bits / 8 };
  };
  return { ...limit("ingress"), ...limit("egress") };
}
