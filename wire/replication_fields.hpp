// Fields that frames, records and handshakes of a pair have in common. For the codecs of wire/ only.
//
// A value that no sender of ours writes ends the reading (Reader::fail()).
#pragma once

#include "base/bytes.hpp"
#include "wire/replication.hpp"

namespace mpath::replication {

inline void put(Writer& writer, Member member) {
  writer.u8(static_cast<std::uint8_t>(member));
}
inline void put(Writer& writer, const View& view) {
  writer.u64(view.number);
  put(writer, view.primary);
  writer.u8(view.in_sync.bits());
}

inline Member read_member(Reader& reader, Member last) {
  const std::uint8_t value = reader.u8();
  if (value > static_cast<std::uint8_t>(last)) reader.fail();
  return value > static_cast<std::uint8_t>(last) ? Member::a : static_cast<Member>(value);
}
inline View read_view(Reader& reader) {
  View view;
  view.number = reader.u64();
  view.primary = read_member(reader, Member::b);
  const std::uint8_t bits = reader.u8();
  view.in_sync = MemberSet::of_bits(bits);
  if (bits > 3 || (view.number > 0 && !view.in_sync.has(view.primary))) reader.fail();
  return view;
}

}  // namespace mpath::replication
