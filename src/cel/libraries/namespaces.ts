import { Optional } from "@marcbachmann/cel-js";
import type { Environment } from "@marcbachmann/cel-js";

import { spend } from "../budget.ts";
import { formatNames } from "../declarations.ts";
import { same } from "./equality.ts";
import { namedFormat, NamedFormat } from "./format.ts";
import { ipIsCanonical } from "./network.ts";
import { quote } from "./strings.ts";

/** Functions with a dot in their name: to the parser they are methods of a variable, so that is what they are here. */
class Sets {
  readonly library = "sets";
}
class Ips {
  readonly library = "ip";
}
class Strings {
  readonly library = "strings";
}
class Formats {
  readonly library = "format";
}

type List = readonly unknown[];

function holds(list: List, wanted: List): boolean {
  spend(list.length * wanted.length);
  return wanted.every((item) => list.some((one) => same(one, item)));
}

/** https://kubernetes.io/docs/reference/using-api/cel/#cel-options-language-features-and-libraries: sets, and what has a dot of the others. */
export function addNamespaces(environment: Environment): Environment {
  environment
    .registerType("SetsLibrary", Sets)
    .registerType("IpLibrary", Ips)
    .registerType("StringsLibrary", Strings)
    .registerType("FormatLibrary", Formats)
    .registerType("kubernetes.NamedFormat", NamedFormat)
    .registerConstant("sets", "SetsLibrary", new Sets())
    // `ip` and `format` are functions too; the parser tells them apart.
    .registerConstant("ip", "IpLibrary", new Ips())
    .registerConstant("strings", "StringsLibrary", new Strings())
    .registerConstant("format", "FormatLibrary", new Formats())
    .registerFunction("SetsLibrary.contains(list, list): bool", (_: Sets, a: List, b: List) => holds(a, b))
    .registerFunction(
      "SetsLibrary.equivalent(list, list): bool",
      (_: Sets, a: List, b: List) => holds(a, b) && holds(b, a),
    )
    .registerFunction("SetsLibrary.intersects(list, list): bool", (_: Sets, a: List, b: List) =>
      a.some((item) => holds(b, [item])),
    )
    .registerFunction("IpLibrary.isCanonical(string): bool", (_: Ips, text: string) => ipIsCanonical(text))
    .registerFunction("StringsLibrary.quote(string): string", (_: Strings, text: string) => quote(text))
    .registerFunction("FormatLibrary.named(string): optional", (_: Formats, name: string) => {
      const format = namedFormat(name);
      return format === undefined ? Optional.none() : Optional.of(format);
    })
    .registerFunction("kubernetes.NamedFormat.validate(string): optional", (format: NamedFormat, text: string) => {
      spend(Math.ceil((text.length + 1) * 0.1) * 32);
      const problems = format.problems(text);
      return problems.length === 0 ? Optional.none() : Optional.of(problems);
    });
  for (const name of formatNames)
    environment.registerFunction(`FormatLibrary.${name}(): kubernetes.NamedFormat`, () => namedFormat(name));
  return environment;
}
