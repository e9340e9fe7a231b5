"""Vision transformers against timm's, and what their stages show."""

import pytest
import torch
from torch import Tensor, nn

from diswot import _torchvision
from diswot.errors import UserError
from diswot.models.outputs import count_params
from diswot.models.transformers import Attention, BlockShape, PatchTransformer

_torchvision.ensure()
timm = pytest.importorskip("timm")

PIT_TI = [[BlockShape(64, 2, 4)] * 2, [BlockShape(128, 4, 4)] * 6, [BlockShape(256, 8, 4)] * 4]


def random_images(side: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def on_meta(stages: list[list[BlockShape]], stride: int, classes: int = 1000) -> PatchTransformer:
    with torch.device("meta"):
        return PatchTransformer(stages, stride, classes)


def test_parameters_are_those_published_but_for_the_class_token() -> None:
    with torch.device("meta"):
        deit = count_params(timm.create_model("deit_tiny_patch16_224"))
        pit = timm.create_model("pit_ti_224")
    assert f"{deit / 1e6:.1f}" == "5.7"
    assert count_params(on_meta([[BlockShape(192, 3, 4.0)] * 12], 16)) == deit - 2 * 192
    pooled = [p for name, p in pit.named_parameters() if "pool.fc" in name or name == "cls_token"]
    rest = count_params(pit) - sum(p.numel() for p in pooled)
    assert count_params(on_meta(PIT_TI, 8)) == rest


def test_outputs_are_those_of_timm() -> None:
    torch.manual_seed(0)
    shape = {"embed_dim": 24, "depth": 3, "num_heads": 3, "mlp_ratio": 3.5, "num_classes": 5}
    pooling = {"class_token": False, "global_pool": "avg", "fc_norm": False}
    theirs = timm.models.VisionTransformer(**shape, **pooling).eval()
    ours = PatchTransformer([[BlockShape(24, 3, 3.5)] * 3], 16, 5).eval()
    state = {}
    for name, tensor in ours.state_dict().items():
        renamed = name.replace("stages.0.", "blocks.").replace(
            "fc.", "head.", name.startswith("fc")
        )
        renamed = renamed.replace("patch_embed.", "patch_embed.proj.")
        state[renamed] = tensor.flatten(2).mT if name == "pos_embed" else tensor
    theirs.load_state_dict(state)
    images = random_images(224)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)


def test_stages_halve_the_map_and_multiply_the_channels() -> None:
    network = on_meta(PIT_TI, 8)
    for side, sides in ((224, (27, 14, 7)), (64, (7, 4, 2)), (16, (1, 1, 1))):
        stages = network.outputs(torch.empty(1, 3, side, side, device="meta")).stages
        assert [tuple(stage.shape) for stage in stages] == [
            (1, width, s, s) for width, s in zip((64, 128, 256), sides, strict=True)
        ]
    pool = network.pools[1]
    assert isinstance(pool, nn.Conv2d)
    assert (pool.kernel_size, pool.stride, pool.groups) == ((3, 3), (2, 2), 128)


def test_one_stage_shows_three_maps_the_last_one_normalised() -> None:
    blocks, images = [BlockShape(12, 3, 2.0)] * 5, random_images(48)
    network = PatchTransformer([blocks], 16, 4)
    ran: list[Tensor] = []
    for block in network.stages[0]:  # type: ignore[union-attr]
        block.register_forward_hook(lambda m, i, output: ran.append(output))
    with torch.no_grad():
        outputs = network.outputs(images)
        last = network.norm(ran[4].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    for stage, expected in zip(outputs.stages, (ran[1], ran[3], last), strict=True):
        assert torch.equal(stage, expected)
    assert outputs.preactivations == outputs.stages
    norms = outputs.stages[-1].square().mean(1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-3, atol=0)


def test_tokens_attend_to_each_other_within_heads() -> None:
    attention, tokens = Attention(6, 2).double(), torch.randn(3, 5, 6).double()
    query, key, value = attention.qkv(tokens).split(6, dim=2)
    mixed = []
    for head in (slice(0, 3), slice(3, 6)):
        scores = query[..., head] @ key[..., head].mT / 3**0.5
        mixed.append(scores.softmax(2) @ value[..., head])
    torch.testing.assert_close(attention(tokens), attention.proj(torch.cat(mixed, 2)))


def test_the_position_embedding_fits_any_size() -> None:
    network = PatchTransformer([[BlockShape(12, 3, 2.0)] * 3], 16, 4)
    assert network.pos_embed.shape == (1, 12, 14, 14)
    nn.init.constant_(network.pos_embed, 0.5)
    for side in (16, 40, 224):
        images = random_images(side, 1)
        with torch.no_grad():
            embedded = network._embedded(images) - network.patch_embed(images)
        torch.testing.assert_close(embedded, torch.full_like(embedded, 0.5))
    with pytest.raises(UserError, match=r"^images of 15 × 15 pixels hold no patch of 16: give"):
        network(random_images(15))


def test_shapes_that_cannot_be() -> None:
    with pytest.raises(UserError, match="a block of 10 channels cannot have 4 heads"):
        on_meta([[BlockShape(10, 4, 2)]], 16)
    with pytest.raises(UserError, match="pooling cannot make 16 channels 24"):
        on_meta([[BlockShape(16, 2, 2)], [BlockShape(24, 2, 2)]], 8)
