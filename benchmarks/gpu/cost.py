def work(session):
    pass


def table(records):
    return "-"
