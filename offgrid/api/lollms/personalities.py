"""LoLLMs' personalities: whom a model may play, from the settings; listed here, and named by a chat."""

from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field
from offgrid.api.shapes import Text
from offgrid.errors import NotFound
from offgrid.web.message import Request, Response

PERSONALITY = Field("personality", Text(), "The id of a personality, whose prompt the model is told first.")
ENTRY = {
    "id": str,
    "object": "personality",
    "name": str,
    "category": str,
    "author": str,
    "description": str,
    "is_public": True,
    "owner_username": None,
    "created_at": None,
}


@endpoint(answer={"object": "list", "data": [ENTRY]})
def list_personalities(_request: Request, app) -> Response:
    """The personalities that a chat may name, without their prompts."""
    data = [
        {
            "id": id,
            "object": "personality",
            "name": one.name,
            "category": one.category,
            "author": one.author,
            "description": one.description,
            # They stand in the settings: they are everybody's, and nobody knows since when.
            "is_public": True,
            "owner_username": None,
            "created_at": None,
        }
        for id, one in app.config.personalities.items()
    ]
    return Response.json({"object": "list", "data": data})


def read_personality(app, asked: Asked) -> str:
    """The system prompt of the personality that a chat names; "" when it names none. Raises NotFound."""
    id = asked["personality"]
    if not id:
        return ""
    if id not in app.config.personalities:
        there = ", ".join(app.config.personalities) or "none: they stand under personalities in offgrid.yaml"
        message = f"There is no personality {id[:80]!r}. There is {there[:400]}."
        raise NotFound(message, code="personality_not_found", param="personality")
    return app.config.personalities[id].system_prompt


def told_first(prompt: str, messages: list[dict]) -> list[dict]:
    """The messages with `prompt`, if there is one, at their beginning.

    In one system message with what they bring of their own: many chat templates know only one, and only there.
    """
    if not prompt:
        return messages
    if messages[0]["role"] == "system":
        own, *messages = messages
        return [{**own, "content": f"{prompt}\n\n{own['content']}"}, *messages]
    return [{"role": "system", "content": prompt}, *messages]
