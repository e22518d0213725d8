#include "wire/scsi_log.hpp"

#include <gtest/gtest.h>

#include "tests/wire/hex.hpp"
#include "wire/error.hpp"

namespace mpath::scsi {
namespace {

using test::at_every_length;
using test::hex;
using test::to_hex;

TEST(LogPage, RoundTripsAndIsTruncatedWhenShort) {
  const LogPage page = provisioning_log_page({.available = 0x01020304, .used = 5});
  const auto bytes = encode_log_page(page);
  EXPECT_EQ(to_hex(bytes),
            "0c000018"
            "00010308"
            "0102030401000000"
            "00020308"
            "0000000501000000");
  at_every_length(bytes, [&](std::span<const std::byte> part) {
    EXPECT_EQ(decode_log_page(part).has_value(), part.size() >= bytes.size()) << part.size();
  });
  EXPECT_TRUE(*decode_log_page(bytes) == page);
}

TEST(LogPage, WithASubpageSaysSo) {
  const LogPage page{.page = 0x0d, .subpage = 0x01, .parameters = {}};
  EXPECT_EQ(to_hex(encode_log_page(page)), "4d010000");
  EXPECT_TRUE(*decode_log_page(encode_log_page(page)) == page);
}

TEST(LogPage, WhoseParameterRunsPastItIsDamaged) {
  EXPECT_EQ(decode_log_page(hex("0d000006"
                                "00000304"
                                "0000"))
                .error(),
            WireErrc::truncated);
}

TEST(LogPage, ListsPagesAndSubpages) {
  const LogPageCode pages[] = {{.page = 0x00}, {.page = 0x0d}, {.page = 0x2f}};
  EXPECT_EQ(to_hex(encode_log_pages(pages, false)), "00000003000d2f");
  EXPECT_EQ(to_hex(encode_log_pages(pages, true)),
            "40ff0006"
            "00000d002f00");
  const std::uint8_t subpages[] = {0x00, 0xff};
  EXPECT_EQ(to_hex(encode_log_subpages(0x0d, subpages)),
            "4dff0004"
            "0d000dff");
}

TEST(LogPage, OfTemperatureDoesNotInventOne) {
  EXPECT_EQ(to_hex(encode_log_page(temperature_log_page())),
            "0d00000c"
            "0000030200ff"
            "0001030200ff");
}

TEST(LogPage, OfInformationalExceptionsHasTheLatest) {
  const auto bytes = encode_log_page(informational_exceptions_log_page({SenseKey::recovered_error, 0x5d, 0x10}));
  EXPECT_EQ(to_hex(bytes),
            "2f000008"
            "00000304"
            "5d10ff00");
}

}  // namespace
}  // namespace mpath::scsi
