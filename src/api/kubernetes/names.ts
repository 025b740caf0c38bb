/**
 * The syntax of names, labels and ports, worded as apimachinery/pkg/util/validation. Each check returns what is wrong, in upstream's
 * sentences; an empty list means fine.
 */
const label1123 = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const label1123Pattern = new RegExp(`^${label1123}$`);
const subdomainPattern = new RegExp(`^${label1123}(\\.${label1123})*$`);
const label1035Pattern = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;
const qualifiedPattern = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const labelValuePattern = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/;

export type NameCheck = (value: string, isPrefix?: boolean) => string[];

const maxLength = (most: number): string => `must be no more than ${most} bytes`;
const empty = "must be non-empty";

const label1123Message = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '${label1123}')`;
const subdomainMessage = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '${label1123}(\\.${label1123})*')`;
const label1035Message =
  "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const qualifiedMessage =
  "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const labelValueMessage =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/** A generateName may end with a dash, since something will follow it. */
const maskTrailingDash = (value: string, isPrefix: boolean): string =>
  isPrefix && value.length > 1 && value.endsWith("-") ? `${value.slice(0, -2)}a` : value;

function checker(pattern: RegExp, most: number, message: string): NameCheck {
  return (value, isPrefix = false) => {
    const masked = maskTrailingDash(value, isPrefix);
    const problems: string[] = [];
    if (masked.length > most) problems.push(maxLength(most));
    if (!pattern.test(masked)) problems.push(message);
    return problems;
  };
}

export const isDns1123Label = checker(label1123Pattern, 63, label1123Message);
export const isDns1123Subdomain = checker(subdomainPattern, 253, subdomainMessage);
const relaxedLabel = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";

/** With underscores: search domains of a Pod. */
export const isRelaxedSubdomain = checker(
  new RegExp(`^${relaxedLabel}(\\.${relaxedLabel})*$`),
  253,
  `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '${relaxedLabel}(\\.${relaxedLabel})*')`,
);
export const isDns1035Label = checker(label1035Pattern, 63, label1035Message);

/** A name that is one segment of a URL's path: RBAC's and custom names. */
export const isPathSegment: NameCheck = (value) => {
  if (value === "." || value === "..") return [`may not be '${value}'`];
  return ["/", "%"].filter((illegal) => value.includes(illegal)).map((illegal) => `may not contain '${illegal}'`);
};

export function isLabelValue(value: string): string[] {
  const problems: string[] = [];
  if (value.length > 63) problems.push(maxLength(63));
  if (!labelValuePattern.test(value)) problems.push(labelValueMessage);
  return problems;
}

/** `[prefix/]name`, as label and annotation keys, finalizers and resource names are. */
export function isQualifiedName(value: string): string[] {
  const parts = value.split("/");
  if (parts.length > 2)
    return [
      `a qualified name ${qualifiedMessage} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ];
  const problems: string[] = [];
  const name = parts.at(-1)!;
  if (parts.length === 2) {
    if (parts[0] === "") problems.push(`prefix part ${empty}`);
    else problems.push(...isDns1123Subdomain(parts[0]!).map((problem) => `prefix part ${problem}`));
  }
  if (name === "") problems.push(`name part ${empty}`);
  else if (name.length > 63) problems.push(`name part ${maxLength(63)}`);
  if (!qualifiedPattern.test(name)) problems.push(`name part ${qualifiedMessage}`);
  return problems;
}

const configKeyPattern = /^[-._a-zA-Z0-9]+$/;

/** Keys of ConfigMaps and Secrets: they become file names. */
export function isConfigMapKey(value: string): string[] {
  const problems: string[] = [];
  if (value.length > 253) problems.push(maxLength(253));
  if (!configKeyPattern.test(value))
    problems.push(
      "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
    );
  if (value === ".") problems.push("must not be '.'");
  else if (value === "..") problems.push("must not be '..'");
  else if (value.startsWith("..")) problems.push("must not start with '..'");
  return problems;
}

export const isPortNumber = (port: number): string[] =>
  Number.isInteger(port) && port >= 1 && port <= 65_535 ? [] : ["must be between 1 and 65535, inclusive"];

/** An IANA service name of at most 15 characters: names of container and Service target ports. */
export function isPortName(name: string): string[] {
  const problems: string[] = [];
  if (name.length > 15) problems.push("must be no more than 15 characters");
  if (!/^[-a-z0-9]+$/.test(name))
    problems.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
  if (!/[a-z]/.test(name)) problems.push("must contain at least one letter (a-z)");
  if (name.includes("--")) problems.push("must not contain consecutive hyphens");
  if (name.startsWith("-") || name.endsWith("-")) problems.push("must not begin or end with a hyphen");
  return problems;
}

/** Any printable name but "=": upstream's RelaxedEnvironmentVariableValidation. */
export function isEnvVarName(name: string): string[] {
  if (/^[\u0020-\u003c\u003e-\u007e]+$/.test(name)) return [];
  return ["a valid environment variable name must consist only of printable ASCII characters other than '='"];
}
