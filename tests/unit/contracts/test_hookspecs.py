import inspect

import pluggy
import pytest

from signerd.contracts import hookimpl, hookspecs
from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP, PLUGINS_GROUP, PROJECT, PUBLISHERS_GROUP


@pytest.fixture
def manager():
    made = pluggy.PluginManager(PROJECT)
    made.add_hookspecs(hookspecs)
    return made


def test_there_are_the_eight_hooks_and_each_takes_settings_alone(manager):
    hooks = {name: caller for name, caller in vars(manager.hook).items() if name.startswith("signerd_")}
    assert set(hooks) == {
        "signerd_authenticators",
        "signerd_entitlements",
        "signerd_release_checks",
        "signerd_predicates",
        "signerd_key_backends",
        "signerd_quota_stores",
        "signerd_audit_sinks",
        "signerd_transparency_logs",
    }
    for caller in hooks.values():
        assert caller.spec.argnames == ("settings",)
        assert not inspect.iscoroutinefunction(caller.spec.function)


def test_an_implementation_by_the_marker_is_found_and_gets_the_settings(manager):
    class Plugin:
        @staticmethod
        @hookimpl
        def signerd_authenticators(settings):
            return [settings["who"]]

    manager.register(Plugin, "p")
    manager.check_pending()
    assert manager.hook.signerd_authenticators(settings={"who": "me"}) == [["me"]]


@pytest.mark.parametrize(
    "implementation",
    [lambda settings: None, lambda setting: None],
    ids=["signerd_authenticator", "signerd_authenticators"],
)
def test_a_hook_that_does_not_exist_or_an_argument_that_it_does_not_have_is_refused(
    manager, implementation, request
):
    plugin = type("Plugin", (), {request.node.callspec.id: staticmethod(hookimpl(implementation))})
    with pytest.raises(pluggy.PluginValidationError):  # noqa: PT012  # either of the two may be the one that refuses
        manager.register(plugin, "p")
        manager.check_pending()


def test_the_group_of_an_entry_point_carries_the_version_of_the_contract():
    groups = {PLUGINS_GROUP, PUBLISHERS_GROUP, KEY_BACKENDS_GROUP}
    assert len(groups) == 3
    assert {group.rpartition(".")[2] for group in groups} == {"v1"}
