"""A chat template that takes tools, made from a model's own that does not.

llama.cpp passes tools over in silence when the model's template has no place for them. Here the
template is led in by a few lines that write them, and the calls and results of earlier turns, into
the messages; without tools what it renders is what it rendered before. llama.cpp finds the marks of
a call in it by itself, holds what is generated to the tools' schemas, and returns real tool calls.
"""

from __future__ import annotations

# Tools stand in the first message, whatever its role, since not every template has a system role;
# results are joined with the words that follow them, since many want user and assistant in turn.
_LEAD = r"""
{%- set sage = namespace(messages=[], text='', joins=false) -%}
{%- for message in messages -%}
  {%- if message.role == 'assistant' and message.tool_calls -%}
    {%- set sage.text = message.content or '' -%}
    {%- for call in message.tool_calls -%}
      {%- set sage.text = sage.text + ('\n' if sage.text else '') + '<tool_call>\n{"name": "'
        + call.function.name + '", "arguments": ' + (call.function.arguments | tojson)
        + '}\n</tool_call>' -%}
    {%- endfor -%}
    {%- set sage.messages = sage.messages + [{'role': 'assistant', 'content': sage.text}] -%}
    {%- set sage.joins = false -%}
  {%- else -%}
    {%- set sage.text = message.content -%}
    {%- if message.role == 'tool' -%}
      {%- set sage.text = '<tool_response>\n' + (message.content or '') + '\n</tool_response>' -%}
    {%- endif -%}
    {%- if sage.joins and message.role in ('tool', 'user') and sage.text is string -%}
      {%- set sage.messages = sage.messages[:-1]
        + [{'role': 'user', 'content': sage.messages[-1].content + '\n' + sage.text}] -%}
    {%- elif message.role == 'tool' -%}
      {%- set sage.messages = sage.messages + [{'role': 'user', 'content': sage.text}] -%}
    {%- else -%}
      {%- set sage.messages = sage.messages + [message] -%}
    {%- endif -%}
    {%- set sage.joins = message.role == 'tool' -%}
  {%- endif -%}
{%- endfor -%}
{%- set messages = sage.messages -%}
{%- if tools and messages -%}
  {%- set sage.text = 'You may call these functions, each with the JSON schema of its arguments:'
    + '\n<tools>' -%}
  {%- for tool in tools -%}
    {%- set sage.text = sage.text + '\n' + (tool | tojson) -%}
  {%- endfor -%}
  {%- set sage.text = sage.text + '\n</tools>\nTo call one, write its name and arguments so:\n'
    + '<tool_call>\n{"name": NAME, "arguments": ARGUMENTS}\n</tool_call>\n\n' -%}
  {%- if messages[0].content is string -%}
    {%- set sage.text = sage.text + messages[0].content -%}
  {%- else -%}
    {%- set sage.text = [{'type': 'text', 'text': sage.text}] + messages[0].content -%}
  {%- endif -%}
  {%- set messages = [{'role': messages[0].role, 'content': sage.text}] + messages[1:] -%}
{%- endif -%}
"""


def with_tools(template: str | None) -> str | None:
    """Return the template led in so that it takes tools; None when it needs or allows no such help.

    Args:
        template: the model's own, in Jinja; None when it has none.
    """
    if not template or "tools" in template or "messages" not in template:
        return None
    return _LEAD.strip() + template
