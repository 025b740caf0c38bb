import assert from "node:assert/strict";
import { test } from "node:test";
import { lint, lintText, parseDockerfile } from "./index.ts";

const found = (...lines: string[]) => lint(parseDockerfile(`${lines.join("\n")}\n`)).map(lintText);

test("each build check finds what it is for, and nothing in what follows it", () => {
  const table: [rule: string, bad: string[], good: string[]][] = [
    ["StageNameCasing", ["FROM a AS Build"], ["FROM a AS build"]],
    ["FromAsCasing", ["FROM a as build"], ["FROM a AS build"]],
    ["DuplicateStageName", ["FROM a AS b", "FROM c AS b"], ["FROM a AS b", "FROM c AS d"]],
    ["ReservedStageName", ["FROM a AS scratch"], ["FROM scratch AS a"]],
    ["ConsistentInstructionCasing", ["FROM a", "RUN b", "run c"], ["from a", "run b"]],
    ["NoEmptyContinuation", ["FROM a", "RUN b \\", "", "c"], ["FROM a", "RUN b \\", "c"]],
    ["JSONArgsRecommended", ["FROM a", "CMD run it"], ["FROM a", 'SHELL ["sh", "-c"]', "CMD run it"]],
    ["JSONArgsRecommended", ["FROM a", "ENTRYPOINT run it"], ["FROM a", 'ENTRYPOINT ["run"]']],
    ["MaintainerDeprecated", ["FROM a", "MAINTAINER me"], ["FROM a", "LABEL maintainer=me"]],
    ["WorkdirRelativePath", ["FROM a", "WORKDIR app"], ["FROM a AS b", "WORKDIR /app", "FROM b", "WORKDIR more"]],
    ["WorkdirRelativePath", ["FROM a", "WORKDIR /b", "FROM a", "WORKDIR c"], ["FROM a", "WORKDIR $HOME/x"]],
    ["LegacyKeyValueFormat", ["FROM a", "ENV b c d"], ["FROM a", "ENV b=c"]],
    ["LegacyKeyValueFormat", ["FROM a", "LABEL b c=d"], ["FROM a", 'LABEL "b c"=d']],
    [
      "MultipleInstructionsDisallowed",
      ["FROM a", 'CMD ["a"]', 'CMD ["b"]'],
      ["FROM a", 'CMD ["a"]', "FROM b", 'CMD ["b"]'],
    ],
    ["SecretsUsedInArgOrEnv", ["FROM a", "ARG API_TOKEN"], ["FROM a", "ENV PUBLIC_KEY=x", "ENV MONKEY=1"]],
    ["ExposeProtoCasing", ["FROM a", "EXPOSE 80/TCP"], ["FROM a", "EXPOSE 80/tcp"]],
    ["RedundantTargetPlatform", ["FROM --platform=$TARGETPLATFORM a"], ["FROM --platform=$BUILDPLATFORM a"]],
    [
      "FromPlatformFlagConstDisallowed",
      ["FROM --platform=linux/arm64 a"],
      ["FROM --platform=linux/arm64 a AS b-arm64"],
    ],
  ];
  for (const [rule, bad, good] of table) {
    assert.deepEqual(
      found(...bad).map((text) => text.split(":")[0]),
      [rule],
      bad.join("; "),
    );
    assert.deepEqual(found(...good), [], good.join("; "));
  }
});

test("a warning names rule and line; rules are left out by directive", () => {
  const lines = ["FROM a as b", "WORKDIR c"];
  assert.deepEqual(found(...lines), [
    "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)",
    'WorkdirRelativePath: Relative workdir "c" can have unexpected results if the base image changes (line 2)',
  ]);
  assert.equal(found("# check=skip=FromAsCasing", ...lines).length, 1);
  assert.deepEqual(found("# check=skip=all", ...lines), []);
});
