"""Checks of a message before review: pure. The secrecy checks (domain: Secrecy review) take their place here."""

from channels.contract import Finding, Message, Severity

SUMMARY_CHARACTERS = 100


def find(message: Message) -> list[Finding]:
    """What is wrong or doubtful in a message: a BLOCK stops the submission, a WARN is shown."""
    findings = []
    if message.item_type == "公示" and message.period is None:
        findings.append(Finding("check.period_missing", Severity.BLOCK, "period"))
    if message.item_type == "公示" and not message.objection_contact:
        findings.append(Finding("check.contact_missing", Severity.BLOCK, "objection_contact"))
    if len(message.summary) > SUMMARY_CHARACTERS:
        facts = {"length": str(len(message.summary)), "limit": str(SUMMARY_CHARACTERS)}
        findings.append(Finding("check.summary_long", Severity.WARN, "summary", facts))
    if message.summary and message.summary.rstrip("。") == message.title.rstrip("。"):
        findings.append(Finding("check.summary_repeats", Severity.WARN, "summary"))
    return findings
