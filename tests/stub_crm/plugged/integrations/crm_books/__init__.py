from tests.stub_crm.declared import CRM_BOOKS as INTEGRATION  # noqa: F401
