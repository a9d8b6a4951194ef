"""What a failure looks like: ``pytest cannot_connect.py`` is red, and says why."""


def test_nobody_gets_through_two_symmetric_nats(puncher, nat_pair):
    assert puncher.connect(nat_pair("symmetric", "symmetric")).direct
