import { createHash } from "node:crypto";
import { closeSync, fstatSync, readSync } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { internal, invalidArgument } from "../../base/index.ts";
import type { OciSeccomp } from "../../api/index.ts";
import { checked, ffi, libc } from "../ffi/index.ts";

/**
 * Seccomp profiles to BPF, once. libseccomp takes 15 ms for the default profile, which would be half of a container's start; the program is kept in
 * a file named after the profile and handed to crun with the annotation `run.oci.seccomp_bpf_data`.
 */
export class SeccompCache {
  readonly #directory: string;
  readonly #compiled = new Map<string, string>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The profile's BPF program, base64. Throws invalidArgument for a profile that libseccomp refuses. */
  async program(profile: OciSeccomp): Promise<string> {
    const key = createHash("sha256")
      .update(JSON.stringify([process.arch, profile]))
      .digest("hex")
      .slice(0, 32);
    const known = this.#compiled.get(key);
    if (known !== undefined) return known;
    const file = path.join(this.#directory, `${key}.bpf`);
    let program: Buffer = await readFile(file).catch(() => Buffer.alloc(0));
    if (program.length === 0) {
      program = compileSeccomp(profile);
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      await writeFile(`${file}.new`, program);
      await rename(`${file}.new`, file);
    }
    const text = program.toString("base64");
    if (this.#compiled.size >= MAX_REMEMBERED) this.#compiled.clear();
    this.#compiled.set(key, text);
    return text;
  }
}

const MAX_REMEMBERED = 8;
const MAX_PROGRAM_BYTES = 4096 * 8;

// From seccomp.h; errno and trace values go into the low 16 bits.
const ACTIONS: Readonly<Record<string, number>> = {
  SCMP_ACT_KILL: 0x00000000,
  SCMP_ACT_KILL_THREAD: 0x00000000,
  SCMP_ACT_KILL_PROCESS: 0x80000000,
  SCMP_ACT_TRAP: 0x00030000,
  SCMP_ACT_ERRNO: 0x00050000,
  SCMP_ACT_TRACE: 0x7ff00000,
  SCMP_ACT_LOG: 0x7ffc0000,
  SCMP_ACT_ALLOW: 0x7fff0000,
};
const OPERATORS: Readonly<Record<string, number>> = {
  SCMP_CMP_NE: 1,
  SCMP_CMP_LT: 2,
  SCMP_CMP_LE: 3,
  SCMP_CMP_EQ: 4,
  SCMP_CMP_GE: 5,
  SCMP_CMP_GT: 6,
  SCMP_CMP_MASKED_EQ: 7,
};
const DEFAULT_ERRNO = 1;
const NO_SUCH_SYSCALL = -1;
/** sizeof(struct scmp_arg_cmp): unsigned arg; int op; u64 datum_a; u64 datum_b. */
const COMPARISON_BYTES = 24;

/** Compiles a profile with libseccomp. */
function compileSeccomp(profile: OciSeccomp): Buffer {
  const library = ffi().load("libseccomp.so.2");
  const init = library.func("void *seccomp_init(uint32_t action)");
  const release = library.func("void seccomp_release(void *ctx)");
  const archResolve = library.func("uint32_t seccomp_arch_resolve_name(const char *name)");
  const archAdd = library.func("int seccomp_arch_add(void *ctx, uint32_t arch)");
  const resolve = library.func("int seccomp_syscall_resolve_name(const char *name)");
  const addRule = library.func(
    "int seccomp_rule_add_array(void *ctx, uint32_t action, int syscall, unsigned int count, const void *comparisons)",
  );
  const exportBpf = library.func("int seccomp_export_bpf(void *ctx, int fd)");
  const context: unknown = init(action(profile.defaultAction, profile.defaultErrnoRet));
  if (context === null) throw internal("libseccomp cannot make a filter");
  try {
    for (const architecture of profile.architectures ?? []) {
      const token = archResolve(architecture.replace("SCMP_ARCH_", "").toLowerCase()) as number;
      if (token !== 0) archAdd(context, token);
    }
    for (const rule of profile.syscalls) {
      const value = action(rule.action, rule.errnoRet);
      if (value === action(profile.defaultAction, profile.defaultErrnoRet)) continue;
      const comparisons = comparisonsOf(rule);
      for (const name of rule.names) {
        const syscall = resolve(name) as number;
        // Newer than this libseccomp: it stays at the default action, which denies.
        if (syscall === NO_SUCH_SYSCALL) continue;
        const failed = addRule(context, value, syscall, rule.args?.length ?? 0, comparisons) as number;
        if (failed < 0) throw invalidArgument(`seccomp profile: libseccomp refuses the rule for ${name} (${failed})`);
      }
    }
    return exported((fd) => exportBpf(context, fd) as number);
  } finally {
    release(context);
  }
}

function action(name: string, errnoRet = DEFAULT_ERRNO): number {
  const base = ACTIONS[name];
  if (base === undefined) throw invalidArgument(`seccomp profile: unknown action "${name}"`);
  return name === "SCMP_ACT_ERRNO" || name === "SCMP_ACT_TRACE" ? (base | (errnoRet & 0xffff)) >>> 0 : base;
}

function comparisonsOf(rule: OciSeccomp["syscalls"][number]): Buffer {
  const buffer = Buffer.alloc(COMPARISON_BYTES * (rule.args?.length ?? 0));
  rule.args?.forEach((arg, index) => {
    const operator = OPERATORS[arg.op];
    if (operator === undefined) throw invalidArgument(`seccomp profile: unknown operator "${arg.op}"`);
    const at = index * COMPARISON_BYTES;
    buffer.writeUInt32LE(arg.index, at);
    buffer.writeUInt32LE(operator, at + 4);
    buffer.writeBigUInt64LE(BigInt(arg.value), at + 8);
    buffer.writeBigUInt64LE(BigInt(arg.valueTwo ?? 0), at + 16);
  });
  return buffer;
}

/** libseccomp writes to a descriptor only; an anonymous file in memory takes it. */
function exported(write: (fd: number) => number): Buffer {
  const fd = checked(
    libc("int memfd_create(const char *name, unsigned int flags)")("berth-seccomp", 1),
    "memfd_create",
  );
  try {
    const failed = write(fd);
    if (failed < 0) throw internal(`libseccomp cannot export the filter (${failed})`);
    const program = Buffer.alloc(Math.min(fstatSync(fd).size, MAX_PROGRAM_BYTES));
    readSync(fd, program, 0, program.length, 0);
    return program;
  } finally {
    closeSync(fd);
  }
}
