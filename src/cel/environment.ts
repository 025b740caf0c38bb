import { Environment } from "@marcbachmann/cel-js";

import { addAuthorizer } from "./libraries/authorizer.ts";
import { addLists } from "./libraries/lists.ts";
import { addMacros } from "./libraries/macros.ts";
import { addNamespaces } from "./libraries/namespaces.ts";
import { addNetwork } from "./libraries/network.ts";
import { addQuantities } from "./libraries/quantity.ts";
import { addRegex } from "./libraries/regex.ts";
import { addSemver } from "./libraries/semver.ts";
import { addStrings } from "./libraries/strings.ts";
import { addUrls } from "./libraries/url.ts";

/** What an author may write at most; what it costs to run is a matter of its own (budget.ts). */
const limits = { maxAstNodes: 10_000, maxDepth: 100, maxListElements: 1000, maxMapEntries: 1000, maxCallArguments: 32 };

const libraries = [
  addStrings,
  addLists,
  addRegex,
  addQuantities,
  addNetwork,
  addUrls,
  addSemver,
  addAuthorizer,
  addNamespaces,
  addMacros,
];

/** CEL with what Kubernetes adds to it (https://kubernetes.io/docs/reference/using-api/cel/#cel-options-language-features-and-libraries). */
export function celEnvironment(): Environment {
  const environment = new Environment({ unlistedVariablesAreDyn: true, enableOptionalTypes: true, limits });
  for (const add of libraries) add(environment);
  return environment;
}
