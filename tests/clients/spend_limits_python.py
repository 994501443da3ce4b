"""The official Python SDK's client of the Admin API's spend limits, against Tercet: another base URL is all it needs.

Reads ADMIN_URL and ADMIN_TOKEN; prints `refused` where the budget it sets must stop the next request.
"""

import os

import anthropic

CLIENT = anthropic.Anthropic(base_url=os.environ["ADMIN_URL"], api_key=os.environ["ADMIN_TOKEN"], max_retries=0)
LIMITS = CLIENT.beta.organization.spend_limits

assert LIMITS.list().data == [], "nothing is set at first"

organization = LIMITS.set(amount="50000", scope={"type": "organization"})
assert (organization.type, organization.amount, organization.currency) == ("spend_limit", "50000", "USD"), organization
assert (organization.period, organization.scope.type, organization.is_enabled) == ("monthly", "organization", True)
assert organization.id.startswith("spl_") and organization.created_at <= organization.updated_at

tenant = LIMITS.set(amount="20000", scope={"type": "workspace", "workspace_id": "acme"}, period="weekly")
user = LIMITS.set(amount="1500", scope={"type": "user", "user_id": "ann"}, period="daily")
assert user.scope.user_id == "acme/ann", user
LIMITS.set(amount=None, scope={"type": "user", "user_id": "rival/rob"}, period="daily")

pages = LIMITS.list(limit=3)
assert len(pages.data) == 3 and pages.has_next_page(), pages
every = list(pages)
assert len({limit.id for limit in every}) == len(every) == 4, every
assert [limit.amount for limit in LIMITS.list(scope_type=["user"])] == ["1500", None]
assert [limit.id for limit in LIMITS.list(workspace_id="acme")] == [tenant.id]
assert LIMITS.retrieve(user.id).amount == "1500"

again = LIMITS.set(amount="0", scope={"type": "user", "user_id": "acme/ann"}, period="daily")
assert (again.id, again.amount, again.created_at) == (user.id, "0", user.created_at), again
assert again.updated_at >= user.updated_at

rows = list(LIMITS.effective.list(limit=1))
assert [(row.actor.user_id, row.amount, row.source.type) for row in rows] == [
    ("acme/ann", "0", "user"),
    ("rival/rob", None, "user"),
], rows
assert float(rows[0].period_to_date_spend) > 0, rows[0]
assert rows[0].spend_limit_id == user.id and rows[0].currency == "USD"
assert [row.actor.name for row in LIMITS.effective.list(user_ids=["rival/rob"], period=["daily"])] == ["rob"]

for wrong, status in [
    (lambda: LIMITS.retrieve("spl_none"), 404),
    (lambda: LIMITS.set(amount="5.00", scope={"type": "organization"}), 400),
    (lambda: LIMITS.set(amount="5", scope={"type": "workspace", "workspace_id": "nobody"}), 404),
    (lambda: LIMITS.set(amount="5", scope={"type": "user", "user_id": "nobody"}), 400),
    (lambda: LIMITS.list(limit=0), 400),
]:
    try:
        wrong()
    except anthropic.APIStatusError as error:
        assert error.status_code == status, error
        assert error.body["type"] == "error" and error.body["error"]["message"], error.body
    else:
        raise AssertionError(f"expected {status}")

deleted = LIMITS.delete(tenant.id)
assert (deleted.id, deleted.type) == (tenant.id, "spend_limit_deleted")
assert tenant.id not in [limit.id for limit in LIMITS.list()]
print("refused")
