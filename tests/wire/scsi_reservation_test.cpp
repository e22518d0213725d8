#include "wire/scsi_reservation.hpp"

#include <gtest/gtest.h>

#include "tests/wire/hex.hpp"
#include "wire/error.hpp"
#include "wire/scsi_mode.hpp"

namespace mpath::scsi {
namespace {

using test::at_every_length;
using test::to_hex;

const TransportId port{.name = "iqn.2025-11.local.host", .isid = std::array<std::uint8_t, 6>{0x80, 1, 2, 3, 4, 5}};

TEST(TransportId, RoundTripsAndMustBeWhole) {
  for (const TransportId& id : {port, TransportId{.name = "iqn.a", .isid = std::nullopt}}) {
    const Bytes bytes = encode_transport_id(id);
    EXPECT_EQ(bytes.size() % 4, 0u);
    at_every_length(bytes, [&](std::span<const std::byte> part) {
      std::size_t used = 0;
      const auto decoded = decode_transport_id(part, used);
      EXPECT_EQ(decoded.has_value(), part.size() >= bytes.size());
      if (decoded) {
        EXPECT_EQ(*decoded, id);
        EXPECT_EQ(used, bytes.size());
      }
    });
  }
  EXPECT_EQ(to_hex(encode_transport_id({.name = "iqn.a", .isid = std::nullopt})),
            "0500001469716e2e61000000000000000000000000000000");
}

TEST(PersistentOut, RoundTripsAndHasOneLength) {
  const PersistentOutList list{
      .key = 1, .service_key = 2, .spec_i_pt = true, .aptpl = true, .initiators = {port, port}};
  const Bytes bytes = encode_persistent_out(list);
  at_every_length(bytes, [&](std::span<const std::byte> part) {
    EXPECT_EQ(decode_persistent_out(part, true).has_value(), part.size() == bytes.size());
  });
  EXPECT_EQ(*decode_persistent_out(bytes, true), list);
  const Bytes plain = encode_persistent_out({.key = 1});
  EXPECT_EQ(plain.size(), persistent_out_list_bytes);
  EXPECT_TRUE(decode_persistent_out(plain, false));
}

TEST(RegisterAndMove, RoundTripsAndHasOneLength) {
  const RegisterAndMoveList list{.key = 1, .service_key = 2, .unregister = true, .relative_port = 7, .initiator = port};
  const Bytes bytes = encode_register_and_move(list);
  at_every_length(bytes, [&](std::span<const std::byte> part) {
    EXPECT_EQ(decode_register_and_move(part).has_value(), part.size() == bytes.size());
  });
  EXPECT_EQ(*decode_register_and_move(bytes), list);
}

TEST(PersistentIn, AnswersRoundTripAndMustBeWhole) {
  const FullStatusAnswer full{
      .generation = 3, .entries = {{.key = 5, .holder = true, .type = 6, .relative_port = 1, .initiator = port}}};
  const Bytes bytes = encode_full_status(full);
  at_every_length(bytes, [&](std::span<const std::byte> part) {
    EXPECT_EQ(decode_full_status(part).has_value(), part.size() >= bytes.size());
  });
  EXPECT_EQ(*decode_full_status(bytes), full);
  const ReservationKeys keys{.generation = 9, .keys = {1, ~std::uint64_t{0}}};
  EXPECT_EQ(*decode_reservation_keys(encode_reservation_keys(keys)), keys);
  const ReservationAnswer held{.generation = 2, .held = ReservationHeld{.key = 4, .type = 3}};
  EXPECT_EQ(*decode_reservation(encode_reservation(held)), held);
  EXPECT_EQ(to_hex(encode_reservation_capabilities({.compatible_reserve = true,
                                                    .spec_i_pt = true,
                                                    .all_tg_pt = true,
                                                    .persist_capable = true,
                                                    .allow_commands = 3,
                                                    .types = 0xea01})),
            "00081db0ea010000");
}

TEST(ModeParameters, RoundTripInBothFormsAndCutPagesAreNoticed) {
  for (const bool short_form : {true, false}) {
    ModeParameters parameters{
        .dpo_fua = true, .long_lba = !short_form, .blocks = {{.blocks = 8192, .block_bytes = 512}}};
    parameters.pages = {{.page = 8, .savable = true, .body = Bytes(18)}, {.page = 10, .subpage = 1, .body = Bytes(28)}};
    const Bytes bytes = encode_mode_parameters(parameters, short_form);
    auto decoded = decode_mode_parameters(bytes, short_form);
    ASSERT_TRUE(decoded);
    for (ModePage& page : decoded->pages) page.at = 0;
    EXPECT_EQ(*decoded, parameters);
    EXPECT_EQ(decode_mode_parameters(std::span(bytes).first(bytes.size() - 1), short_form).error(),
              WireErrc::truncated);
    at_every_length(
        bytes, [&](std::span<const std::byte> part) { static_cast<void>(decode_mode_parameters(part, short_form)); });
  }
}

}  // namespace
}  // namespace mpath::scsi
