// Every command against every reservation in every role. What is expected is written down here as the standards have
// it, one line a command, and knows nothing of the command table.
#include "target/scsi/access.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/target/scsi/unit_world.hpp"

namespace mpath::target {
namespace {

// SPC-4 table 66, SBC-3 table 13, columns in their order: another nexus holds Write Exclusive; Exclusive Access; the
// sender is registered and the type is registrants-only or all-registrants; it is not, and the type is one of the Write
// Exclusive ones; of the Exclusive Access ones. Then SPC-2 table 10: another initiator has RESERVE(6). A: allowed, C:
// conflict, -: judged by its own rules.
struct Line {
  const char* cdb;  // first bytes in hex, the rest zero
  const char* persistent;
  char reserve;
};
const Line lines[] = {
    {"00", "AAAAA", 'C'},          // TEST UNIT READY
    {"03", "AAAAA", 'A'},          // REQUEST SENSE
    {"08", "ACAAC", 'C'},          // READ(6)
    {"0a", "CCACC", 'C'},          // WRITE(6)
    {"12", "AAAAA", 'A'},          // INQUIRY
    {"15", "CCACC", 'C'},          // MODE SELECT(6)
    {"1a", "ACAAC", 'C'},          // MODE SENSE(6)
    {"1b00000001", "AAAAA", 'A'},  // START STOP UNIT that starts
    {"1b00000000", "CCACC", 'C'},  //                 that stops
    {"1b00000011", "CCACC", 'C'},  //                 with a power condition
    {"1e00000000", "AAAAA", 'A'},  // PREVENT ALLOW MEDIUM REMOVAL that allows
    {"1e00000001", "CCACC", 'C'},  //                 that prevents
    {"25", "AAAAA", 'A'},          // READ CAPACITY(10)
    {"28", "ACAAC", 'C'},          // READ(10)
    {"2a", "CCACC", 'C'},          // WRITE(10)
    {"2e", "CCACC", 'C'},          // WRITE AND VERIFY(10)
    {"2f", "ACAAC", 'C'},          // VERIFY(10)
    {"34", "ACAAC", 'C'},          // PRE-FETCH(10)
    {"35", "CCACC", 'C'},          // SYNCHRONIZE CACHE(10)
    {"37", "ACAAC", 'C'},          // READ DEFECT DATA(10)
    {"41", "CCACC", 'C'},          // WRITE SAME(10)
    {"42", "CCACC", 'C'},          // UNMAP
    {"4801", "CCACC", 'C'},        // SANITIZE, OVERWRITE
    {"4802", "CCACC", 'C'},        // SANITIZE, BLOCK ERASE
    {"481f", "CCACC", 'C'},        // SANITIZE, EXIT FAILURE MODE
    {"4d", "AAAAA", 'A'},          // LOG SENSE
    {"55", "CCACC", 'C'},          // MODE SELECT(10)
    {"5a", "ACAAC", 'C'},          // MODE SENSE(10)
    {"5e00", "AAAAA", 'C'},        // PERSISTENT RESERVE IN
    {"5e01", "AAAAA", 'C'},       {"5e02", "AAAAA", 'C'}, {"5e03", "AAAAA", 'C'},
    {"5f00", "AAAAA", 'C'},  // PERSISTENT RESERVE OUT: the service actions judge by key and role themselves
    {"5f01", "AAAAA", 'C'},       {"5f02", "AAAAA", 'C'}, {"5f03", "AAAAA", 'C'},
    {"5f04", "AAAAA", 'C'},       {"5f05", "AAAAA", 'C'}, {"5f06", "AAAAA", 'C'},
    {"5f07", "AAAAA", 'C'},       {"8300", "CCACC", 'C'},  // EXTENDED COPY
    {"8400", "ACAAC", 'C'},                                // RECEIVE COPY RESULTS
    {"8401", "ACAAC", 'C'},       {"8403", "ACAAC", 'C'}, {"8404", "ACAAC", 'C'},
    {"88", "ACAAC", 'C'},    // READ(16)
    {"89", "CCACC", 'C'},    // COMPARE AND WRITE
    {"8a", "CCACC", 'C'},    // WRITE(16)
    {"8b", "CCACC", 'C'},    // ORWRITE(16)
    {"8e", "CCACC", 'C'},    // WRITE AND VERIFY(16)
    {"8f", "ACAAC", 'C'},    // VERIFY(16)
    {"90", "ACAAC", 'C'},    // PRE-FETCH(16)
    {"91", "CCACC", 'C'},    // SYNCHRONIZE CACHE(16)
    {"93", "CCACC", 'C'},    // WRITE SAME(16)
    {"9c", "CCACC", 'C'},    // WRITE ATOMIC(16)
    {"9e10", "AAAAA", 'A'},  // READ CAPACITY(16)
    {"9e12", "ACAAC", 'C'},  // GET LBA STATUS
    {"a0", "AAAAA", 'A'},    // REPORT LUNS
    {"a30a", "AAAAA", 'A'},  // REPORT TARGET PORT GROUPS
    {"a30c", "ACAAC", 'C'},  // REPORT SUPPORTED OPERATION CODES
    {"a30d", "ACAAC", 'C'},  // REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS
    {"a40a", "CCACC", 'C'},  // SET TARGET PORT GROUPS
    {"a8", "ACAAC", 'C'},    // READ(12)
    {"aa", "CCACC", 'C'},    // WRITE(12)
    {"ae", "CCACC", 'C'},    // WRITE AND VERIFY(12)
    {"af", "ACAAC", 'C'},    // VERIFY(12)
    {"b7", "ACAAC", 'C'},    // READ DEFECT DATA(12)
};
// RESERVE and RELEASE, SPC-4 5.13.3: good (without effect) for the holder, and for registrants where they share.
const char* const reserve_opcodes[] = {"16", "17", "56", "57"};

constexpr ReservationType types[] = {
    ReservationType::write_exclusive,
    ReservationType::exclusive_access,
    ReservationType::write_exclusive_registrants_only,
    ReservationType::exclusive_access_registrants_only,
    ReservationType::write_exclusive_all_registrants,
    ReservationType::exclusive_access_all_registrants,
};
enum class Who { holder, registrant, stranger };
constexpr Who everybody[] = {Who::holder, Who::registrant, Who::stranger};

std::array<std::byte, 16> cdb_of(const char* hex) {
  std::array<std::byte, 16> cdb{};
  const std::string text = hex;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    cdb[i / 2] = static_cast<std::byte>(std::stoul(text.substr(i, 2), nullptr, 16));
  return cdb;
}

NexusName sender(Who who) {
  return test::UnitWorld::name(static_cast<unsigned>(who));
}

Reservations held(ReservationType type) {
  Reservations reservations;
  for (const Who who : {Who::holder, Who::registrant}) {
    const NexusName name = sender(who);
    reservations.registrations.push_back({.initiator = name.initiator, .target = name.target, .key = 0xa});
  }
  reservations.held = PersistentReservation{.type = type, .key = 0xa, .holder = std::nullopt};
  const bool all = static_cast<int>(type) >= 7;
  if (!all) reservations.held->holder = reservations.registrations[0];
  return reservations;
}

Verdict verdict(const char* hex, const Reservations& reservations, const NexusName& who) {
  const auto cdb = cdb_of(hex);
  const CommandRow* row = find_command(cdb);
  EXPECT_NE(row, nullptr) << hex;
  return row == nullptr ? Verdict::conflict : judge(*row, cdb, reservations, who);
}

// The column of the table that applies; none: the sender holds the reservation.
std::optional<std::size_t> column(ReservationType type, Who who) {
  const int number = static_cast<int>(type);
  const bool exclusive_access = number == 3 || number == 6 || number == 8;
  if (who == Who::holder) return std::nullopt;
  if (who == Who::registrant && number >= 7) return std::nullopt;  // all registrants hold it
  if (number == 1 || number == 3) return exclusive_access ? 1 : 0;
  if (who == Who::registrant) return 2;
  return exclusive_access ? 4 : 3;
}

TEST(Access, IsWhatTheStandardsTablesSayForEveryOpcodeTypeAndRole) {
  for (const Line& line : lines) {
    for (const ReservationType type : types) {
      for (const Who who : everybody) {
        const auto at = column(type, who);
        const bool allowed = !at || line.persistent[*at] == 'A';
        EXPECT_EQ(verdict(line.cdb, held(type), sender(who)) == Verdict::allowed, allowed)
            << line.cdb << " type " << static_cast<int>(type) << " role " << static_cast<int>(who);
      }
    }
  }
}

TEST(Access, CoversEveryCommandThatThereIs) {
  for (const CommandRow& row : command_table()) {
    bool listed = row.access == AccessClass::reserve;
    for (const Line& line : lines) listed = listed || find_command(cdb_of(line.cdb)) == &row;
    EXPECT_TRUE(listed) << row.name;
  }
}

TEST(Access, WithoutAnyReservationEverythingIsAllowed) {
  for (const Line& line : lines) EXPECT_EQ(verdict(line.cdb, {}, sender(Who::stranger)), Verdict::allowed) << line.cdb;
}

TEST(Access, RegistrationsAloneKeepNobodyOut) {
  Reservations reservations = held(ReservationType::exclusive_access);
  reservations.held.reset();
  for (const Line& line : lines)
    EXPECT_EQ(verdict(line.cdb, reservations, sender(Who::stranger)), Verdict::allowed) << line.cdb;
}

TEST(Access, ReserveKeepsAllOthersOut) {
  Reservations reservations;
  reservations.reserved = sender(Who::holder);
  for (const Line& line : lines) {
    const bool persistent = line.cdb[0] == '5' && (line.cdb[1] == 'e' || line.cdb[1] == 'f');
    EXPECT_EQ(verdict(line.cdb, reservations, sender(Who::holder)) == Verdict::allowed, !persistent) << line.cdb;
    EXPECT_EQ(verdict(line.cdb, reservations, sender(Who::stranger)) == Verdict::allowed, line.reserve == 'A')
        << line.cdb;
  }
  EXPECT_EQ(verdict("16", reservations, sender(Who::holder)), Verdict::allowed);
  EXPECT_EQ(verdict("16", reservations, sender(Who::stranger)), Verdict::conflict);
  EXPECT_EQ(verdict("17", reservations, sender(Who::stranger)), Verdict::allowed);
}

TEST(Access, ReserveAndReleaseAreGoodForThoseWhoShareAPersistentReservation) {
  for (const char* opcode : reserve_opcodes) {
    for (const ReservationType type : types) {
      EXPECT_EQ(verdict(opcode, held(type), sender(Who::holder)), Verdict::allowed);
      const bool shared = static_cast<int>(type) >= 5;
      EXPECT_EQ(verdict(opcode, held(type), sender(Who::registrant)) == Verdict::allowed, shared);
      EXPECT_EQ(verdict(opcode, held(type), sender(Who::stranger)), Verdict::conflict);
    }
    Reservations registered = held(ReservationType::write_exclusive);
    registered.held.reset();
    EXPECT_EQ(verdict(opcode, registered, sender(Who::registrant)), Verdict::conflict);
    EXPECT_EQ(verdict(opcode, {}, sender(Who::stranger)), Verdict::allowed);
  }
}

TEST(Access, AnotherIsidOrPortalGroupIsAnotherNexus) {
  const Reservations reservations = held(ReservationType::exclusive_access);
  NexusName other_isid = sender(Who::holder);
  other_isid.initiator.isid[5] = 77;
  EXPECT_EQ(role_of(reservations, other_isid), Role::stranger);
  EXPECT_EQ(role_of(reservations, test::UnitWorld::name(0, 2)), Role::stranger);
  NexusName renumbered = sender(Who::holder);
  renumbered.target.relative_id = 9;
  renumbered.target.alua_group = 9;
  EXPECT_EQ(role_of(reservations, renumbered), Role::holder);
}

}  // namespace
}  // namespace mpath::target
