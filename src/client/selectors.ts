/** Label selectors: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors */
export interface LabelSelectorLike {
  matchLabels?: Readonly<Record<string, string>>;
  matchExpressions?: readonly { key: string; operator: string; values?: readonly string[] }[];
}

export type Labels = Readonly<Record<string, string>> | undefined;
export type LabelPredicate = (labels: Labels) => boolean;

const NOTHING: LabelPredicate = () => false;

/** Compiled once, asked often. An absent selector matches nothing; an empty one everything. */
export function labelPredicate(selector: LabelSelectorLike | undefined): LabelPredicate {
  if (!selector) return NOTHING;
  const wanted = Object.entries(selector.matchLabels ?? {});
  const rules = selector.matchExpressions ?? [];
  return (labels = {}) =>
    wanted.every(([key, value]) => labels[key] === value) && rules.every((rule) => matchesExpression(rule, labels));
}

function matchesExpression(
  rule: { key: string; operator: string; values?: readonly string[] },
  labels: Readonly<Record<string, string>>,
): boolean {
  const value = labels[rule.key];
  switch (rule.operator) {
    case "In":
      return value !== undefined && (rule.values ?? []).includes(value);
    case "NotIn":
      return value === undefined || !(rule.values ?? []).includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    default:
      return false;
  }
}

export function matchesLabels(wanted: Labels, labels: Labels): boolean {
  for (const key in wanted) if (labels?.[key] !== wanted[key]) return false;
  return true;
}

/** The query form: `app=web,tier in (a,b),!legacy`, sorted as upstream prints it. */
export function formatSelector(selector: LabelSelectorLike | undefined): string {
  if (!selector) return "";
  const parts: [string, string][] = Object.entries(selector.matchLabels ?? {}).map(([key, value]) => [
    key,
    `${key}=${value}`,
  ]);
  for (const { key, operator, values = [] } of selector.matchExpressions ?? []) {
    const list = [...values].sort().join(",");
    if (operator === "In") parts.push([key, `${key} in (${list})`]);
    else if (operator === "NotIn") parts.push([key, `${key} notin (${list})`]);
    else parts.push([key, operator === "Exists" ? key : `!${key}`]);
  }
  return parts
    .sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0))
    .map(([, text]) => text)
    .join(",");
}
