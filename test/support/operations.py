"""The README's table of operations against a server: of each operation that botocore knows, a request with as
little in it as botocore allows is answered as the row says in which it stands, or else with 501.

usage: operations.py ADDR README"""
import re
import sys

import boto3
import botocore.exceptions
from botocore.client import Config

ADDR, README = sys.argv[1:]
KNOWN = {"Bucket": "bucket", "Key": "object", "CopySource": "bucket/object", "PartNumber": 1, "UploadId": "0" * 16}
# Whether a code, None if there was no error, is what a row says.
ANSWERS = {
    "yes": lambda code: code != "NotImplemented",
    "404": lambda code: re.fullmatch("NoSuch.*|.*NotFound.*", code or "") is not None,
    "501": lambda code: code in ("NotImplemented", "501"),
}


def least(shape, name=""):
    """The smallest value of that shape."""
    if name in KNOWN:
        return KNOWN[name]
    if shape.type_name == "structure":
        return {n: least(shape.members[n], n) for n in shape.required_members}
    if shape.type_name == "list":
        return [least(shape.member)]
    if shape.type_name == "map":
        return {}
    if shape.type_name in ("string", "timestamp"):
        return (getattr(shape, "enum", None) or ["2033-01-01"])[0]
    return {"boolean": False, "blob": b""}.get(shape.type_name, 1)


def rows():
    """Operation: answer, from the lines "| answer ... | Name, Name, ... |"."""
    found = {}
    with open(README, encoding="utf-8") as file:
        for line in file:
            cells = [c.strip() for c in line.strip().strip("|").split("|")]
            if line.startswith(("| yes", "| 404", "| 501")) and len(cells) == 2:
                for name in re.findall(r"\b[A-Z][a-z]+[A-Z]\w+", cells[1]):
                    found[name] = cells[0][:3]
    return found


def main():
    s3 = boto3.client("s3", endpoint_url="http://" + ADDR, region_name="us-east-1",
                      config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}))
    s3.put_object(Bucket="bucket", Key="object", Body=b"x")
    said, wrong = rows(), []
    model = s3.meta.service_model
    names = sorted(set(model.operation_names) - {"WriteGetObjectResponse"})  # of another service's host
    # DeleteObject would take away what the others need, and DeleteBucket what is below all.
    for name in sorted(names, key=lambda n: n in ("DeleteObject", "DeleteObjects", "DeleteBucket")):
        shape = model.operation_model(name).input_shape
        parameters = least(shape) if shape else {}
        try:
            s3._make_api_call(name, parameters)
            code = None
        except botocore.exceptions.ClientError as failure:
            code = failure.response["Error"]["Code"]
        answer = said.get(name, "501")
        if not ANSWERS[answer](code):
            wrong.append("%s: the README says %s, the server %s" % (name, answer, code or "yes"))
    wrong += ["%s: in the README, and botocore does not know it" % n for n in sorted(set(said) - set(names))]
    if wrong:
        sys.exit("\n".join(wrong))
    print("ok - of %d operations that botocore knows, the server has those that the README says" % len(names))


main()
