"""Check, before hours of training, that networks fit each other: those that start from a base, and a student's teachers."""

import torch

from ..errors import UsageError
from ..nets.net import Net
from ..nets.trained import Trained
from .distill import Distillation, features_at
from .learning import FEWEST, NetworkTraining, PlannedNetwork, learns_from_pair
from .pretrain import Pretrain

Shapes = dict[str, torch.Size]


def check_students_teachers(base: Pretrain, expert: Pretrain, student: Distillation, trained: Trained | None) -> None:
    """UsageError, unless the experts and the student fit the base; `trained` is a base that another run has trained."""
    student = student.beside(base)
    if student.own:
        _check_own(student)
    if trained is None and _same_networks(base, expert, student):
        return
    base_net = trained.net if trained is not None else _net(base)
    expert_net, layer = _net(expert), student.layer
    if expert.start == "base":
        _check_start("expert", base_net, expert_net)
    if layer == "projection" and not base_net.projector_spec.dim:
        raise UsageError(f"student.layer=projection: {base.method} has none; type student.layer=pool")
    features = [features_at(layer, net) for net in (base_net, expert_net)]
    if features[0] != features[1]:
        raise UsageError(
            f"the student learns from the base and from experts, but at student.layer={layer} the base gives {features[0]} "
            f"features and an expert {features[1]}; give both the same encoder and options"
        )
    if student.start == "base":
        _check_student_start(student, base_net)


def _check_own(student: Distillation) -> None:
    if not learns_from_pair(student.own_method(FEWEST), student.pair()):
        raise UsageError(
            f"student.own={student.own:g}: a loss beside the teachers' learns from two views of an image as they do, and {student.method} "
            "does not; type student.own=0"
        )


def _same_networks(base: Pretrain, expert: Pretrain, student: Distillation) -> bool:
    """True where the recipes name the same networks: then nothing has to be built to know that they fit."""
    same = (expert.method, expert.options, expert.encoder) == (base.method, base.options, base.encoder)
    taught = student.layer == "pool" or (student.start == "scratch" and bool(base.options.get("dim")))
    own = not student.own or (student.method, student.options) == (base.method, base.options)
    return same and student.encoder == base.encoder and taught and own


def _check_student_start(student: Distillation, base: Net) -> None:
    if student.own:
        own = PlannedNetwork(student.encoder, student.input_spec, student.own_method(FEWEST)).net
        _check_start("student", base, own)
        return
    projects = student.layer == "projection"
    hidden, dim = (base.projector_spec.hidden, base.projector_spec.dim) if projects else (0, 0)
    own = Net(_planned(student, None).net.encoder, hidden=hidden, dim=dim)
    _check_start("student", base if projects else Net(base.encoder), own)


def _check_start(name: str, base: Net, own: Net) -> None:
    theirs, ours = _shapes(base), _shapes(own)
    for part in sorted({*theirs, *ours}):
        if theirs.get(part) != ours.get(part):
            raise UsageError(
                f"{name}.start=base, but this network has another shape than the base's ({part}); give both the same "
                f"encoder, size and options, or type {name}.start=scratch"
            )


def _net(recipe: Pretrain) -> Net:
    return _planned(recipe, recipe).net


def _planned(recipe: NetworkTraining, by: Pretrain | None) -> PlannedNetwork:
    return PlannedNetwork(recipe.encoder, recipe.input_spec, by.method_for(FEWEST) if by else None)


def _shapes(net: Net) -> Shapes:
    return {name: tensor.shape for name, tensor in net.state_dict().items()}
