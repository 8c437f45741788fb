#!/usr/bin/env python3
"""minio-go's own functional tests, as Debian ships them, each by its name.

  minio_go.py make SOURCE DIR      its functional_tests.go as a program in DIR that runs the tests named
  minio_go.py run PROGRAM LIST     runs them all, each in a process of its own, three at a time, for each has
                                   buckets of its own (SERVER_ENDPOINT, ACCESS_KEY and SECRET_KEY are set);
                                   the outcome must be what LIST says, or else PASS

A test ends in PASS, FAIL or NA: "not available", the server has answered NotImplemented. It says so for
each thing it looks at; the worst counts. The two that try nearly everything begin with a bucket policy and
go no further; their copies "...WithoutPolicies" leave out the setting of policies and nothing else."""
import concurrent.futures
import json
import os
import re
import subprocess
import sys

MAIN = """package main

import (
	"fmt"
	"log/slog"
	"os"
)

var tests = map[string]func(){
%s}

func main() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, nil)))
	if len(os.Args) == 1 {
		for name := range tests {
			fmt.Println(name)
		}
	}
	for _, name := range os.Args[1:] {
		tests[name]()
	}
}
"""
WORST = ["PASS", "NA", "FAIL"]


def make(source, folder):
    text = open(source, encoding="utf-8").read()
    text = re.sub(r"^//( \+build|go:build).*\n", "", text, flags=re.M)
    text = text.replace("\nfunc main() {", "\nfunc mainOfAll() {")
    for name in ("testFunctional", "testFunctionalV2"):
        body = re.search(r"^func %s\(\) {\n.*?^}\n" % name, text, flags=re.M | re.S)[0]
        body = body.replace("func %s()" % name, "func %sWithoutPolicies()" % name)
        body, n = re.subn(r"err = c\.SetBucketPolicy\(context\.Background\(\), bucketName, (\w+)\)", r"_, err = \1, nil", body)
        if n == 0:
            sys.exit("%s sets no policy any more" % name)
        text += "\n" + body
    lines = ['\t"%s": %s,\n' % (n, n) for n in re.findall(r"^func (test\w+)\(\) {", text, flags=re.M)]
    for name in re.findall(r"^func (test\w+)\(\w+ bool\) {", text, flags=re.M):
        lines += ['\t"%s-%s": func() { %s(%s) },\n' % (name, b, name, b) for b in ("true", "false")]
    for name, content in (("functional.go", text), ("main.go", MAIN % "".join(lines))):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(content)


def read_list(path):
    expected = {}
    for line in open(path, encoding="utf-8"):
        if line.strip() and not line.startswith("#"):
            name, outcome, reason = line.strip().split(None, 2)
            expected[name] = (outcome, reason)
    return expected


def outcome_of(program, name):
    """The worst, and what was said of it."""
    env = dict(os.environ, RUN_ON_FAIL="1", MINT_MODE="full", ENABLE_HTTPS="0", ENABLE_KMS="1")
    try:
        run = subprocess.run([program, name], env=env, capture_output=True, timeout=300)
    except subprocess.TimeoutExpired:
        return "FAIL", "no end"
    found = []
    for line in run.stdout.decode(errors="replace").splitlines():
        said = json.loads(line) if line.startswith("{") else {}
        if "status" in said:
            found.append((WORST.index(said["status"]), line))
    if run.returncode != 0 or not found:
        return "FAIL", run.stdout.decode(errors="replace")[-1000:] + run.stderr.decode(errors="replace")[-2000:]
    worst, said = max(found)
    return WORST[worst], said


def run_all(program, path):
    expected, bad, passed = read_list(path), [], 0
    names = sorted(subprocess.run([program], check=True, capture_output=True, text=True).stdout.split())
    for name in sorted(set(expected) - set(names)):
        bad.append("%s is in the list, and there is no such test" % name)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(lambda name: outcome_of(program, name), names))
    for name, (outcome, said) in zip(names, outcomes):
        wanted = expected.get(name, ("PASS",))[0]
        passed += outcome == "PASS"
        if outcome != wanted:
            bad.append("%s: %s, not %s: %s" % (name, outcome, wanted, said))
    for line in bad:
        print(line, file=sys.stderr)
    if bad:
        sys.exit(1)
    print("%d tests of minio-go pass, %d do not apply" % (passed, len(expected)))


if sys.argv[1] == "make":
    make(*sys.argv[2:])
else:
    run_all(*sys.argv[2:])
