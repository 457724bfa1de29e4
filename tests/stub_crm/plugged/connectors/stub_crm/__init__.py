from tests.stub_crm.declared import CRM as CONNECTOR  # noqa: F401
