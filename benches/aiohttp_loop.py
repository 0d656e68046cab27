"""The plain loop to compare with: sends one request per row, 32 in flight, parses the replies, keeps nothing.

usage: python aiohttp_loop.py BASE_URL REQUEST.json ROWS.jsonl

REQUEST.json is a request as `classified` sent it for the first row of ROWS.jsonl; the others are made from it by
putting another row's text in its place. Prints replies per second, from the first request to the last reply: the
start of Python and the imports do not count.
"""

import asyncio
import json
import sys
import time

import aiohttp

IN_FLIGHT = 32


def prompt_of(request, first_text):
    """The last message's text before and after the row's own text."""
    before, found, after = request["messages"][-1]["content"].partition(first_text)
    if not found:
        sys.exit("the request does not hold the first row's text")
    return before, after


async def ask(session, url, request, prompt, rows):
    answered = 0
    system = request["messages"][:-1]
    before, after = prompt
    for row in rows:
        user = {"role": "user", "content": before + json.loads(row)["text"] + after}
        body = {**request, "messages": [*system, user]}
        async with session.post(url, json=body) as reply:
            reply.raise_for_status()
            completion = await reply.json()
        if completion["choices"][0]["message"]["tool_calls"]:
            answered += 1
    return answered


async def main():
    base_url, request_path, rows_path = sys.argv[1:]
    with open(request_path) as file:
        request = json.load(file)
    with open(rows_path) as rows, open(rows_path) as head:
        prompt = prompt_of(request, json.loads(head.readline())["text"])
        async with aiohttp.ClientSession() as session:
            url = base_url + "/chat/completions"
            start = time.perf_counter()
            # All take their next row from one iterator: no two get the same.
            asking = [ask(session, url, request, prompt, rows) for _ in range(IN_FLIGHT)]
            answered = sum(await asyncio.gather(*asking))
            wall = time.perf_counter() - start
    print(f"{answered} {answered / wall:.0f}")


asyncio.run(main())
