#!/usr/bin/env python3
"""Starts FOLDER/counting as a gateway before a simulated upstream, and sends it for SECONDS what gateways are asked most.

Three tenants, with limits, budgets, cache and routing; messages short and long, streams, tools, repeats.
"""
import atexit, http.client, json, os, signal, subprocess, sys, threading, time

work, seconds = sys.argv[1], float(sys.argv[2])
CONFIG = """
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[upstream]
base_url = "%s"
credential = { env = "TRAINING_UPSTREAM" }
[routing]
mode = "enforce"
[journal]
path = "data"
[limits]
requests_per_minute = 10_000_000
input_tokens_per_minute = 10_000_000_000
[budget]
daily = "1000000.00 USD"
monthly = "1000000.00 USD"
[tenants.one.limits]
requests_per_minute = 10_000_000
input_tokens_per_minute = 10_000_000_000
output_tokens_per_minute = 10_000_000_000
[tenants.one.budget]
daily = "1000000.00 USD"
[[tenants.one.keys]]
id = "one"
user = "ann"
secret = { env = "TRAINING_ONE" }
[tenants.two.cache]
enabled = true
[[tenants.two.keys]]
id = "two"
user = "bob"
secret = { env = "TRAINING_TWO" }
[tenants.three.routing]
mode = "shadow"
[[tenants.three.keys]]
id = "three"
user = "eve"
secret = { env = "TRAINING_THREE" }
"""
KEYS = ["training-one-0123456789", "training-two-0123456789", "training-three-0123456789"]
WORDS = "please read this and tell me what it says of the tests that failed in the build since the last change".split()


def text(words, seed):
    return " ".join(WORDS[(seed * 7 + at * at) % len(WORDS)] for at in range(words))


def bodies(seed):
    """What a client asks in turn: a short message, a stream, a conversation with tools, one said before."""
    ask = lambda words: {"role": "user", "content": text(words, seed)}
    plain = {"model": "claude-sonnet-5", "max_tokens": 200, "system": text(60, 1), "messages": [ask(180)]}
    tool = {"name": "read_file", "description": text(30, 2),
            "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}
    turns = []
    for turn in range(12):
        turns += [ask(40), {"role": "assistant", "content": [
            {"type": "text", "text": text(30, turn)},
            {"type": "tool_use", "id": f"toolu_{turn}", "name": "read_file", "input": {"path": f"/src/{turn}.rs"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": f"toolu_{turn}", "content": text(300, turn)}]},
            {"role": "assistant", "content": text(20, turn)}]
    long = {"model": "claude-opus-5-5", "max_tokens": 400, "system": text(900, 3), "tools": [tool],
            "messages": turns + [ask(60)]}
    again = dict(plain, messages=[{"role": "user", "content": text(120, seed % 3)}])
    return [plain, dict(plain, stream=True), long, dict(long, stream=True), again, plain]


failed = []


def client(port, number, until):
    seed, answered = number * 1000, 0
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while time.monotonic() < until:
        for body in bodies(seed):
            line.request("POST", "/v1/messages", json.dumps(body), {
                "x-api-key": KEYS[(number + answered) % 3], "anthropic-version": "2023-06-01",
                "content-type": "application/json", "user-agent": "training/1"})
            answer = line.getresponse()
            answer.read()
            if answer.status != 200:
                return failed.append(f"answered {answer.status}")
            answered += 1
        seed += 1
    print(f"{answered} answered", file=sys.stderr)


counting = os.path.join(work, "counting")
# Its own counts are thrown away: it is not what is to be fast.
upstream = subprocess.Popen([counting, "simulate", "--json"], env=dict(os.environ, LLVM_PROFILE_FILE="/dev/null"),
                            stdout=subprocess.PIPE, text=True)
atexit.register(upstream.kill)
url = json.loads(upstream.stdout.readline())["url"]
open(os.path.join(work, "tercet.toml"), "w").write(CONFIG % url)
environment = dict(os.environ, TRAINING_UPSTREAM="training", **dict(zip(
    ["TRAINING_ONE", "TRAINING_TWO", "TRAINING_THREE"], KEYS)))
gateway = subprocess.Popen([counting, "run", "--config", "tercet.toml"], cwd=work, env=environment,
                           stderr=subprocess.PIPE, text=True)
port = None
while port is None:
    line = gateway.stderr.readline()
    if not line:
        raise SystemExit("the gateway ended before it listened")
    if "http://" in line:
        port = int(line.rsplit(":", 1)[1].split('"')[0].split()[0].strip("/"))
threading.Thread(target=lambda: [None for _ in gateway.stderr], daemon=True).start()
until = time.monotonic() + seconds
clients = [threading.Thread(target=client, args=(port, number, until)) for number in range(4)]
for one in clients:
    one.start()
for one in clients:
    one.join()
gateway.send_signal(signal.SIGTERM)
if gateway.wait(60) != 0 or failed:
    raise SystemExit(f"the training was not answered: {failed}")
