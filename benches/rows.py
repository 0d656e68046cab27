"""Writes N rows of JSONL to stdout: {"id", "text"}, different texts of about 200 tokens, the same on every machine.

usage: python3 benches/rows.py N
"""

import random
import sys

WORDS = """
a about above across after again against air all almost along also always among an and animal answer area around as at
away balance base be because become before begin behind below between body both bottom bridge build but by call can
carry case cause cell center century change chapter charge circle city clear close cold color common compare complete
contain copper could country course cover cross current cycle deep degree depend describe develop difference direction
distance divide draw early earth edge effect electric element end energy engine equal every example experiment explain
field figure final find fire first flow follow for force form found fraction from function gas general give glass grow
half harbor heat heavy height history hold however if in increase inside into iron is island it its kind known language
large later law layer lead leave length less letter level light limit line liquid list long low machine many map mass
material matter mean measure metal method might mix model moon more most motion mountain move much must name nature
near never north not note number object observe ocean of often old on one only open or orbit order other out over part
particle path people place plane plant point possible power pressure problem process proof pull push quantity question
rate reach reason record region relation rest result river root rule same scale season second section see series set
several shape ship short show side simple since size slow small solid solve some sound south space speed square star
start state step still stone store story straight strong structure such sum surface system table temperature than that
the their then theory there these they thing this through time to together total toward trade tree turn two under unit
until up use value vary very volume wall water wave way weight well were what when where which while white whole wide
wind with without work world would year
""".split()

SENTENCES = 4000
SENTENCES_A_ROW = 12


def main():
    rows = int(sys.argv[1])
    rng = random.Random(42)
    sentences = []
    for _ in range(SENTENCES):
        words = rng.choices(WORDS, k=rng.randint(10, 20))
        sentences.append(" ".join(words).capitalize() + ".")
    for row in range(rows):
        text = " ".join(rng.choices(sentences, k=SENTENCES_A_ROW))
        # Words and full stops only: nothing that JSON escapes.
        sys.stdout.write(f'{{"id": {row}, "text": "Row {row}. {text}"}}\n')


main()
