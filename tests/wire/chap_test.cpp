#include "wire/chap.hpp"

#include <gtest/gtest.h>

#include <array>
#include <set>

#include "tests/wire/hex.hpp"

namespace mpath::iscsi {
namespace {

constexpr std::array all = {ChapAlgorithm::md5, ChapAlgorithm::sha1, ChapAlgorithm::sha256, ChapAlgorithm::sha3_256};

// The responses were had from Python's hashlib: H(27h, "secret-of-12+", 00h ... 0fh), and H(00h) of nothing.
struct ChapRow {
  ChapAlgorithm algorithm;
  unsigned number;
  const char* name;
  const char* response;
  const char* of_nothing;
};
class ChapTable : public testing::TestWithParam<ChapRow> {};

TEST_P(ChapTable, HasTheKnownResponse) {
  const auto challenge = test::hex("000102030405060708090a0b0c0d0e0f");
  const auto response = chap_response(GetParam().algorithm, 0x27, "secret-of-12+", challenge);
  EXPECT_EQ(test::to_hex(response), GetParam().response);
  EXPECT_EQ(response.size(), chap_response_bytes(GetParam().algorithm));
  EXPECT_LE(response.size(), chap_response_bytes_max);
}

TEST_P(ChapTable, HashesTheIdAloneWhenThereIsNoMore) {
  EXPECT_EQ(test::to_hex(chap_response(GetParam().algorithm, 0, "", {})), GetParam().of_nothing);
}

TEST_P(ChapTable, DependsOnEveryInput) {
  const auto algorithm = GetParam().algorithm;
  const auto challenge = make_chap_challenge(algorithm);
  const auto response = chap_response(algorithm, 1, "secret", challenge);
  auto other = challenge;
  other.back() ^= std::byte{1};
  EXPECT_NE(chap_response(algorithm, 2, "secret", challenge), response);
  EXPECT_NE(chap_response(algorithm, 1, "Secret", challenge), response);
  EXPECT_NE(chap_response(algorithm, 1, "secret", other), response);
  EXPECT_EQ(chap_response(algorithm, 1, "secret", challenge), response);
}

TEST_P(ChapTable, IsFoundByItsNumber) {
  EXPECT_EQ(chap_algorithm(GetParam().number), GetParam().algorithm);
  EXPECT_STREQ(name(GetParam().algorithm), GetParam().name);
  EXPECT_EQ(choose_chap_algorithm(std::to_string(GetParam().number), all), GetParam().algorithm);
}

TEST_P(ChapTable, ChallengesAreNeverTheSame) {
  std::set<std::vector<std::byte>> seen;
  for (int i = 0; i < 100; ++i) {
    const auto challenge = make_chap_challenge(GetParam().algorithm);
    EXPECT_EQ(challenge.size(), chap_response_bytes(GetParam().algorithm));
    EXPECT_TRUE(seen.insert(challenge).second);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ChapTable,
                         testing::Values(ChapRow{ChapAlgorithm::md5, 5, "MD5", "3a3f37b1a42a95890e4260f9ca5d24a5",
                                                 "93b885adfe0da089cdf634904fd59f71"},
                                         ChapRow{ChapAlgorithm::sha1, 6, "SHA1",
                                                 "2e768c8991ad4f21eb87066e399669cd94f01440",
                                                 "5ba93c9db0cff93f52b521d7420e43f6eda2784f"},
                                         ChapRow{ChapAlgorithm::sha256, 7, "SHA256",
                                                 "018613b04cd3d3e03adc9e53b3d55c21afb13f4a4c7852ffb246152b1c7d7df9",
                                                 "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
                                         ChapRow{ChapAlgorithm::sha3_256, 8, "SHA3-256",
                                                 "cc86869176759f9812c8fcef72dae639ac9d57429295053a5d3f8f089875c2de",
                                                 "5d53469f20fef4f8eab52b88044ede69c77a6a68a60728609fc4a65ff531e7d0"}),
                         [](const auto& row) { return "number_" + std::to_string(row.param.number); });

TEST(ChapAlgorithms, OthersHaveNoNumber) {
  for (const std::uint64_t number : {0ULL, 4ULL, 9ULL, 255ULL, 261ULL, 0x100000005ULL}) {
    EXPECT_FALSE(chap_algorithm(number)) << number;
  }
}

TEST(ChapAlgorithms, TheInitiatorsOrderDecides) {
  EXPECT_EQ(choose_chap_algorithm("5,7", all), ChapAlgorithm::md5);
  EXPECT_EQ(choose_chap_algorithm("7,5", all), ChapAlgorithm::sha256);
  EXPECT_EQ(choose_chap_algorithm("0x8,5", all), ChapAlgorithm::sha3_256);
}

TEST(ChapAlgorithms, OnlyWhatIsAllowedIsChosen) {
  constexpr std::array strong = {ChapAlgorithm::sha3_256, ChapAlgorithm::sha256};
  EXPECT_EQ(choose_chap_algorithm("5,6,7", strong), ChapAlgorithm::sha256);
  EXPECT_EQ(choose_chap_algorithm("5,6", strong), std::nullopt);
  EXPECT_EQ(choose_chap_algorithm("7", {}), std::nullopt);
}

TEST(ChapAlgorithms, WhatIsNoNumberIsPassedOver) {
  for (const char* list : {"", ",", "x", "-5", "5 ", " 5", "5x", "99999999999999999999"}) {
    EXPECT_EQ(choose_chap_algorithm(list, all), std::nullopt) << list;
  }
  EXPECT_EQ(choose_chap_algorithm("x,,300,6", all), ChapAlgorithm::sha1);
}

TEST(ChapComparison, SeesEveryDifferingByteAndLength) {
  const auto bytes = test::hex("000102030405060708090a0b0c0d0e0f");
  EXPECT_TRUE(equal_in_constant_time(bytes, bytes));
  EXPECT_TRUE(equal_in_constant_time({}, {}));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    auto other = bytes;
    other[i] ^= std::byte{0x80};
    EXPECT_FALSE(equal_in_constant_time(bytes, other)) << i;
    EXPECT_FALSE(equal_in_constant_time(bytes, std::span(bytes).first(i))) << i;
  }
}

}  // namespace
}  // namespace mpath::iscsi
