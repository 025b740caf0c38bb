import type { Command } from "commander";
import { invalidArgument } from "../../base/index.ts";
import { print } from "../output/terminal.ts";

/** Completes command names and their options; arguments fall back to the shell's own file names. */
export function completion(shell: string, berth: Command): void {
  const commands = berth.commands.map((command) => ({
    name: command.name(),
    words: command.options.flatMap(({ long }) => (long ? [long] : [])).join(" "),
  }));
  const names = commands.map(({ name }) => name).join(" ");
  const cases = commands.map(({ name, words }) => `    ${name}) words="${words}" ;;`).join("\n");
  const bash = `_berth() {
  local current=\${COMP_WORDS[COMP_CWORD]} words="${names}"
  if (( COMP_CWORD > 1 )); then
    words=""
    case \${COMP_WORDS[1]} in
${cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _berth berth`;
  if (shell === "bash") return print(bash);
  if (shell === "zsh") return print(`autoload -U +X bashcompinit && bashcompinit\n${bash}`);
  if (shell !== "fish") throw invalidArgument(`no completion for "${shell}"`, { hint: "bash, zsh or fish" });
  for (const { name, words } of commands) {
    print(`complete -c berth -n __fish_use_subcommand -f -a ${name}`);
    for (const word of words.split(" ").filter(Boolean)) {
      print(`complete -c berth -n "__fish_seen_subcommand_from ${name}" -l ${word.slice(2)}`);
    }
  }
}
