"""The OpenAI Python client against a gateway: what an application would do."""

import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="unused", max_retries=0, timeout=60)

models = [model.id for model in client.models.list()]
assert models == ["llama-8b"], models

messages = [{"role": "user", "content": "Say something short."}]
answer = client.chat.completions.create(model="llama-8b", messages=messages, max_tokens=16)
assert answer.choices[0].message.content, answer
assert 0 < answer.usage.completion_tokens <= 16, answer.usage

pieces, usage = [], None
for chunk in client.chat.completions.create(
    model="llama-8b", messages=messages, max_tokens=16, stream=True, stream_options={"include_usage": True}
):
    usage = chunk.usage or usage
    pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
assert pieces and usage and usage.completion_tokens <= 16, (pieces, usage)

plain = client.completions.create(model="llama-8b", prompt="Once upon", max_tokens=4)
assert plain.choices[0].text, plain

try:
    client.chat.completions.create(model="gpt-none", messages=messages)
    raise SystemExit("a model that nobody serves must be refused")
except openai.NotFoundError as error:
    assert "llama-8b" in str(error), error

try:
    client.chat.completions.create(model="llama-8b", messages=messages, max_tokens=-1)
    raise SystemExit("max_tokens -1 must be refused")
except openai.BadRequestError as error:
    assert "max_tokens" in str(error), error

raw = client.chat.completions.with_raw_response.create(model="llama-8b", messages=messages, max_tokens=2)
assert raw.headers["x-tidegate-endpoint"].startswith("127."), raw.headers
