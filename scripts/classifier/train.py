#!/usr/bin/env python3
"""Trains the classifier's weights: what share of full marks each tier's answer gets, from a request's text and form.

A fourth head tells how familiar a request is: whether it is of a kind that the answers of the Claude pair taught. Beside
the trees stand the traits: the few sums of features along which tasks differ most in what makes a request hard, for the
gateway to learn by workload which way they point there.

  train.py DATA --out FILE [--seed 7] [--leave-out FAMILY] [--fold K]
      DATA is a folder of labelled prompts, SOURCE.dev.jsonl.gz with {"source", "category", "prompt", "tools", "group",
      "scores": {"small", "mid", "large"}} a line. With --leave-out FAMILY its rows are left out, with --fold K a fifth of the
      questions: for measuring only.
  train.py DATA --fixture FILE
      Writes prompts of this script's own with their features and the scores of FILE's neighbour `weights.json`, for the test that
      Rust and Python agree.

Boosted trees (LightGBM), one set a tier, cross-entropy against the mean score. Rows of the Claude pair weigh 1, rows of other
pairs 1/10: they teach which tasks are hard, not how far apart two Claude models are. One thread, so that a seed gives one file.
"""
import argparse
import glob
import gzip
import hashlib
import json
import os
import sys

os.environ.setdefault('OMP_NUM_THREADS', '1')
import lightgbm
import numpy as np

import features

SOURCES = {'zeroeval': 1.0, 'bfcl': 1.0, 'routellm_mmlu': 0.1, 'routellm_gsm8k': 0.1, 'llmrouter': 0.1, 'arena_bench': 0.1}
FORMAT = 'tercet-classifier-3'
TIERS = {'haiku': 'small', 'sonnet': 'mid', 'opus': 'large'}
TREES = 200
PARAMETERS = dict(
    objective='cross_entropy', learning_rate=0.06, num_leaves=12, min_data_in_leaf=30, feature_fraction=0.3,
    bagging_fraction=0.7, bagging_freq=1, lambda_l2=5.0, num_threads=1, deterministic=True, verbose=-1)
FAMILIAR = 'familiar'
FAMILIAR_TREES = 60
FAMILIAR_PARAMETERS = {**PARAMETERS, 'learning_rate': 0.1, 'num_leaves': 8}
UNIT = 10_000           # leaves are logits in ten-thousandths
TRAITS = 4
TASK_ROWS = 40          # of a task from which its slopes are learned
TRAIT_ROUNDS = 10
TRAIT_BITS, TRAIT_SHIFT = 30, 10    # of the factors, and of them cut off a sum
FOLDS = 5


def load(folder):
    rows = []
    for path in sorted(glob.glob(os.path.join(folder, '*.dev.jsonl.gz'))):
        with gzip.open(path, 'rt') as lines:
            rows += [json.loads(line) for line in lines]
    return rows


def family(row):
    """Tasks that share questions are one family, whatever their source."""
    category = str(row.get('category'))
    if category in ('gsm', 'gsm8k', 'agentverse-mgsm'):
        return 'gsm'
    if category in ('math-l5', 'math'):
        return 'math'
    if row['source'] == 'zeroeval':
        return category
    if category == 'mmlu':
        return 'routellm_mmlu'
    return row['source']


def fold_of(group):
    return int(hashlib.sha256(f'fold/{group}'.encode()).hexdigest(), 16) % FOLDS


def chosen(rows, arguments):
    for row in rows:
        if row['source'] not in SOURCES:
            continue
        if arguments.leave_out and family(row) == arguments.leave_out:
            continue
        if arguments.fold is not None and fold_of(row['group']) == arguments.fold:
            continue
        yield row


def flatten(tree):
    """A tree as [[feature, threshold, left, right], ...] and leaves; children below zero are leaves, ~child their place."""
    nodes, leaves = [], []

    def walk(node):
        if 'leaf_value' in node:
            leaves.append(round(node['leaf_value'] * UNIT))
            return ~(len(leaves) - 1)
        assert node['decision_type'] == '<='
        place = len(nodes)
        nodes.append(None)
        # Features are integers, so a threshold between two of them is its floor.
        threshold = int(np.floor(node['threshold']))
        left, right = walk(node['left_child']), walk(node['right_child'])
        nodes[place] = [node['split_feature'], threshold, left, right]
        return place

    walk(tree['tree_structure'])
    return [nodes, leaves]


def logarithm(value):
    """Logarithm to base 2 of a count and one, in 256ths, straight between powers of two."""
    power = (value + 1).bit_length() - 1
    return power * 256 + ((value + 1 << 8) >> power) - 256


def find_traits(rows, matrix):
    """Factors and offsets of the traits, in 2^-30ths.

    Within each task the gap between large and small is a line in the features, whose slopes are drawn from one normal
    distribution. Its covariance is found by expectation and maximisation; its longest axes are the traits, scaled so that
    slopes along them have a variance of 1.
    """
    tasks = {}
    for place, row in enumerate(rows):
        if 'small' in row['scores'] and 'large' in row['scores']:
            tasks.setdefault((row['source'], str(row.get('category'))), []).append(place)
    logs = np.array([[logarithm(int(count)) for count in vector] for vector in matrix]) * (np.log(2) / 256)
    gaps = np.array([row['scores'].get('large', 0) - row['scores'].get('small', 0) for row in rows])
    taught = [place for task, places in tasks.items() if SOURCES[task[0]] == 1.0 for place in places] or range(len(rows))
    inside = np.concatenate([logs[places] - logs[places].mean(0) for places in tasks.values()])
    own = np.concatenate([logs[places] - logs[places].mean(0) for task, places in tasks.items() if SOURCES[task[0]] == 1.0]
                         or [inside])
    scale, middle = own.std(0) + 0.2, logs[taught].mean(0)
    evidence = []
    for _, places in sorted(tasks.items()):
        if len(places) >= TASK_ROWS:
            known, gap = (logs[places] - logs[places].mean(0)) / scale, gaps[places] - gaps[places].mean()
            noise = max(gap.var(), 0.02)
            evidence.append((known.T @ known / noise, known.T @ gap / noise))
    size = len(scale)
    covariance = np.eye(size) * 6e-4
    for _ in range(TRAIT_ROUNDS):
        before, total = np.linalg.inv(covariance + 1e-9 * np.eye(size)), 0
        for squares, products in evidence:
            spread = np.linalg.inv(squares + before)
            slopes = spread @ products
            total = total + np.outer(slopes, slopes) + spread
        covariance = total / len(evidence)
    lengths, axes = np.linalg.eigh(covariance)
    factors = (axes * np.sqrt(lengths))[:, ::-1][:, :TRAITS].T / scale
    factors *= np.sign(factors[np.arange(TRAITS), np.abs(factors).argmax(1)])[:, None]
    offsets = factors @ middle
    unit = 1 << TRAIT_BITS
    return {
        'factors': [[round(factor * unit * np.log(2) / 256) for factor in row] for row in factors],
        'offsets': [round(offset * unit) for offset in offsets],
    }


def traits(known, vector):
    """The traits of a feature vector in 2^-20ths, as Rust sums them."""
    logs = [logarithm(count) for count in vector]
    return [(sum(factor * log for factor, log in zip(factors, logs)) - offset) >> TRAIT_SHIFT
            for factors, offset in zip(known['factors'], known['offsets'])]


def train(rows, seed):
    """The trees of each head, and the traits."""
    matrix = np.array([features.of_row(row) for row in rows], dtype=np.float64)
    weights = np.array([SOURCES[row['source']] for row in rows])
    heads = {}
    for tier, label in TIERS.items():
        known = np.array([label in row['scores'] for row in rows])
        target = np.array([row['scores'].get(label, 0.0) for row in rows])[known]
        data = lightgbm.Dataset(matrix[known], target, weight=weights[known])
        booster = lightgbm.train({**PARAMETERS, 'seed': seed}, data, TREES)
        heads[tier] = [flatten(tree) for tree in booster.dump_model()['tree_info']]
    taught = lightgbm.Dataset(matrix, (weights == 1.0).astype(float))
    booster = lightgbm.train({**FAMILIAR_PARAMETERS, 'seed': seed}, taught, FAMILIAR_TREES)
    heads[FAMILIAR] = [flatten(tree) for tree in booster.dump_model()['tree_info']]
    return {'heads': heads, 'traits': find_traits(rows, matrix)}


def logits(heads, vector):
    """Logit of each head in ten-thousandths, as Rust sums it."""
    found = []
    for head in [*TIERS, FAMILIAR]:
        total = 0
        for nodes, leaves in heads[head]:
            at = 0 if nodes else -1
            while at >= 0:
                feature, threshold, left, right = nodes[at]
                at = left if vector[feature] <= threshold else right
            total += leaves[~at]
        found.append(total)
    return found


def write(path, trained, arguments, rows):
    names = list(features.FEATURES)
    lexicon = {name: words.split() for name, words in features.LEXICON.items()}
    payload = json.dumps({'features': names, 'lexicon': lexicon, **trained}, separators=(',', ':'))
    head = {
        'format': FORMAT, 'sha256': hashlib.sha256(payload.encode()).hexdigest(), 'made_by': 'scripts/classifier/train.py',
        'seed': arguments.seed, 'rows': len(rows), 'sources': sorted({row['source'] for row in rows}),
    }
    with open(path, 'w') as out:
        out.write(json.dumps(head) + '\n' + payload + '\n')


def read(path):
    with open(path) as lines:
        head, payload = lines.read().splitlines()
    assert json.loads(head)['format'] == FORMAT
    return json.loads(payload)


# Prompts of our own, with what could be read differently: escapes, characters beyond ASCII, options, tools, length.
SAMPLES = [
    ('', None),
    ('hello', None),
    ('What is the capital of France?', None),
    ('Prove that $\\frac{1}{2} + \\sqrt{3}$ is irrational.\nThen compute 12345 modulo 7; explain each step.', None),
    ('Which of these is false?\nA. A whale is a fish.\nB) Ice floats.\n\nC: 17 is prime.\nAnswer:', None),
    ('def f(a_list):\n\treturn [x ** 2 for x in a_list if x != "é"]\nassert f([1, 2]) == ??', None),
    ('Größe: 5 µm — naïve? 日本語 \U0001F600 "quoted" `code` #tag', None),
    ('Find the weather in Oslo and Bergen, and also book a table for 4 at 19:30.',
     [{'name': 'weather', 'description': 'Current weather of a town', 'input_schema': {'type': 'object', 'properties': {
         'town': {'type': 'string'}}}}]),
    ('word 123 Word, ' * 700 + 'the end.', None),
]


def fixture(path):
    weights, cases = read(os.path.join(os.path.dirname(path), 'weights.json')), []
    for text, tools in SAMPLES:
        vector = features.of_row({'prompt': text, 'tools': tools})
        cases.append({
            'text': text, 'tools': tools, 'features': vector, 'logits': logits(weights['heads'], vector),
            'traits': traits(weights['traits'], vector)})
    with open(path, 'w') as out:
        out.write('[\n' + ',\n'.join(json.dumps(case, ensure_ascii=False) for case in cases) + '\n]\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data')
    parser.add_argument('--out')
    parser.add_argument('--seed', type=int, default=7)
    parser.add_argument('--leave-out')
    parser.add_argument('--fold', type=int)
    parser.add_argument('--fixture')
    arguments = parser.parse_args()
    if arguments.fixture:
        return fixture(arguments.fixture)
    if not arguments.out:
        parser.error('give --out FILE or --fixture FILE')
    rows = list(chosen(load(arguments.data), arguments))
    if not rows:
        sys.exit(f'train.py: no rows in {arguments.data}')
    write(arguments.out, train(rows, arguments.seed), arguments, rows)
    print(f'{arguments.out}: {len(rows)} rows, {os.path.getsize(arguments.out)} bytes')


if __name__ == '__main__':
    main()
