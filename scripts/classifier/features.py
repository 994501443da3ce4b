"""The features of a request: integers counted from raw JSON text.

`src/classify/features.rs` counts the same, and a test compares the two on `tests.json`: whoever changes one changes the
other and trains again. Text is what stands between the quotes of a body, escapes as they came.
"""
import json

WINDOW = 4096           # bytes read from each end of the last user turn
TOOLS_WINDOW = 4096     # bytes read of `tools`
OTHER = 128             # stands for any character beyond ASCII
SEED, PRIME = 0x811C9DC5, 0x01000193  # FNV-1a

LEXICON = {
    'maths': 'prove proof theorem lemma integral derivative equation equations polynomial probability modulo triangle matrix '
             'integer integers frac sqrt solve derive angle radius circle sum product root roots real positive digit digits '
             'divisible prime factor remainder sequence mathrm cdot theta',
    'code': 'function class struct import return async compile bug debug refactor implement algorithm traceback exception regex '
            'sql python rust java javascript typescript api def print assert lambda append list string array int str len range '
            'elif self',
    'steps': 'step steps then plan design analyze analyse evaluate compare strategy investigate diagnose research comprehensive '
             'detailed carefully explain why reasoning first finally after before next',
    'plain': 'translate rephrase reword summarize summarise spell grammar capital synonym define convert hello thanks classify '
             'sentiment extract title shorten label',
    'ask': 'what which who when where how',
    'amount': 'many much total cost costs price each per average percent percentage half twice times more less dollars hours '
              'minutes days',
    'negation': 'not except never no none without cannot false incorrect unlikely neither',
    'join': 'and also both additionally respectively well another',
    'every': 'every all any always only exactly least most',
    'if': 'if unless suppose assume given let would could should might',
    'command': 'find calculate get determine give write create generate tell show make compute provide retrieve fetch search '
               'book order help please need want can',
    'answer': 'answer json format following question instruction output choose option correct true',
    'person': 'i my me you your we our he his she her they their',
}
WORDS = {}

FEATURES = (
    'text_bytes tools tool_bytes tool_fields words_in_tools words_beside_tools share_in_tools '
    'letters upper digits numbers long_numbers lines blank_lines option_lines others '
    'questions backslashes dollars equals operators braces brackets parens commas stops colons semicolons quotes ticks '
    'underscores hashes words longest distinct long_words short_words capitals mean_word digit_share symbol_share '
    'distinct_share stop_share'
).split() + list(LEXICON)

MARKS = {
    '?': 'questions', '\\': 'backslashes', '$': 'dollars', '=': 'equals', ',': 'commas', '.': 'stops', ':': 'colons',
    ';': 'semicolons', '"': 'quotes', "'": 'quotes', '`': 'ticks', '_': 'underscores', '#': 'hashes',
    **dict.fromkeys('+-*/^<>%|&~', 'operators'), **dict.fromkeys('{}', 'braces'), **dict.fromkeys('[]', 'brackets'),
    **dict.fromkeys('()', 'parens'),
}
MARKS = {ord(mark): name for mark, name in MARKS.items()}
SYMBOLS = 'equals operators braces brackets parens backslashes dollars semicolons ticks underscores hashes'.split()
ESCAPES = {ord('n'): 10, ord('t'): 9, ord('r'): 13, ord('b'): 8, ord('f'): 12}


def fnv(word):
    state = SEED
    for byte in word:
        state = ((state ^ byte) * PRIME) & 0xFFFFFFFF
    return state


for _name, _words in LEXICON.items():
    for _word in _words.split():
        assert fnv(_word.encode()) not in WORDS, _word
        WORDS[fnv(_word.encode())] = _name


def characters(part):
    """ASCII characters as they are meant, every other character as OTHER."""
    at = 0
    while at < len(part):
        byte = part[at]
        if byte == 0x5C:
            if at + 1 >= len(part):
                return
            escaped = part[at + 1]
            if escaped == ord('u'):
                digits = part[at + 2:at + 6]
                at += 6
                if len(digits) < 4 or any(digit not in b'0123456789abcdefABCDEF' for digit in digits):
                    continue
                value = int(digits, 16)
                if value < 128:
                    yield value
                elif not 0xDC00 <= value < 0xE000:  # the second half of a pair
                    yield OTHER
                continue
            at += 2
            yield ESCAPES.get(escaped, escaped if escaped < 128 else OTHER)
            continue
        at += 1
        if byte < 128:
            yield byte
        elif byte >= 0xC0:  # the first byte of a character
            yield OTHER


def windows(pieces, window=WINDOW):
    """The first and last `window` bytes of all pieces together, by piece."""
    total, start = sum(map(len, pieces)), 0
    for piece in pieces:
        end = start + len(piece)
        yield piece[:max(0, min(window - start, len(piece)))]
        yield piece[min(max(total - window, window, start), end) - start:]
        start = end


class Word:
    """A word as it is read: hash of all its letters, hash of the first five, length."""

    def __init__(self):
        self.hash = self.stem = SEED
        self.length, self.capital = 0, False

    def add(self, letter, capital):
        if self.length == 0:
            self.capital = capital
        self.hash = ((self.hash ^ letter) * PRIME) & 0xFFFFFFFF
        if self.length < 5:
            self.stem = self.hash
        self.length += 1


def is_letter(character):
    return character < 128 and 97 <= (character | 0x20) <= 122


def stems(part):
    """Stems of the words of four letters and more, in 4,096 classes."""
    found, word = set(), Word()
    for character in [*characters(part), OTHER]:
        if is_letter(character):
            word.add(character | 0x20, False)
        elif word.length:
            if word.length >= 4:
                found.add(word.stem & 4095)
            word = Word()
    return found


def count_part(part, known, seen, count):
    """Counts what stands in one window; words, numbers and lines end with it."""
    word, number, column, before = Word(), 0, 0, 10
    for character in [*characters(part), None]:
        if character is not None and is_letter(character):
            if number:
                count['numbers'] += 1
                count['long_numbers'] += number >= 3
                number = 0
            count['letters'] += 1
            count['upper'] += character < 97
            word.add(character | 0x20, character < 97)
        else:
            if word.length:
                end_word(word, known, seen, count)
                word = Word()
            if character is not None and 48 <= character <= 57:
                count['digits'] += 1
                number += 1
            else:
                if number:
                    count['numbers'] += 1
                    count['long_numbers'] += number >= 3
                    number = 0
                if character is None:
                    return
                if character == 10:
                    count['lines'] += 1
                    count['blank_lines'] += before == 10
                elif character == OTHER:
                    count['others'] += 1
                elif character in MARKS:
                    count[MARKS[character]] += 1
                option = column == 1 and character in b'.):' and (is_letter(before) or 48 <= before <= 57)
                count['option_lines'] += option
        column = 0 if character == 10 else column + 1
        before = character


def end_word(word, known, seen, count):
    count['words'] += 1
    count['longest'] = max(count['longest'], word.length)
    seen.add(word.hash & 1023)
    count['long_words'] += word.length >= 8
    count['short_words'] += word.length <= 3
    count['capitals'] += word.capital
    if word.hash in WORDS:
        count[WORDS[word.hash]] += 1
    if known is not None and word.length >= 4:
        count['words_in_tools' if word.stem & 4095 in known else 'words_beside_tools'] += 1


def share(part, whole):
    return part * 1000 // whole if whole else 0


def features(pieces, tools, tool_count):
    """The feature vector of raw text pieces (bytes), the raw `tools` (bytes or None) and their number."""
    count = dict.fromkeys(FEATURES, 0)
    count['text_bytes'] = sum(map(len, pieces))
    count['tools'], count['tool_bytes'] = tool_count, len(tools or b'')
    known = None
    if tools:
        head = tools[:TOOLS_WINDOW]
        known = stems(head)
        count['tool_fields'] = head.count(b'"type"')
    seen = set()
    for part in windows(pieces):
        count_part(part, known, seen, count)
    count['distinct'] = len(seen)
    read = min(count['text_bytes'], 2 * WINDOW)
    count['mean_word'] = count['letters'] * 16 // count['words'] if count['words'] else 0
    count['digit_share'] = share(count['digits'], read)
    count['symbol_share'] = share(sum(count[name] for name in SYMBOLS), read)
    count['distinct_share'] = share(count['distinct'], count['words'])
    count['stop_share'] = share(count['stops'] + count['questions'], read)
    count['share_in_tools'] = share(count['words_in_tools'], count['words_in_tools'] + count['words_beside_tools'])
    return [count[name] for name in FEATURES]


def raw(text):
    """Text as it stands between the quotes of a body."""
    return json.dumps(text, ensure_ascii=False)[1:-1].encode('utf-8', 'surrogatepass')


def of_row(row):
    tools = row.get('tools')
    written = json.dumps(tools, ensure_ascii=False).encode() if tools else None
    return features([raw(row['prompt'])], written, len(tools or []))
